"""CityScapes: seven categories and the depth of each pixel, one task each."""

import keras

from mtk.data.cityscapes import load_cityscapes
from mtk.data.splits import split
from mtk.data.streets import Size
from mtk.models.deeplab import Head
from mtk.models.sharing import DeepLab
from mtk.places import InputPath
from mtk.ranges import check_count, check_nonnegative, check_rate
from mtk.workloads.arrays import MakeNetwork
from mtk.workloads.street_scenes import StreetScenes


class CityScapes(StreetScenes):
    """Segmentation into seven categories, and depth, of CityScapes.

    The official validation split is used as the test split, since the official one has no public
    labels; the validation split is drawn at random from the training split. All images are read
    into memory once.

    Args:
        data_dir: Folder for `mtk.data.cityscapes.load_cityscapes`.
        size: Height and width of a scene.
        num_validation: Number of scenes of the training split to use for validation.
        weights: ImageNet weights of the network's trunk: a file, "imagenet" to let Keras download
            them, or None for random ones.
        dropout: Rate of the heads' dropout.
        data_seed: Seed of the split.
        network: Makes a network with another way of sharing; see `StreetScenes`.

    Reference:
        Cordts et al., *The Cityscapes dataset for semantic urban scene understanding* (2016), for
        the data; Liu et al., *End-to-end multi-task learning with attention* (2019), section 4.1,
        for the two tasks; Xin et al. (2022), appendix, for the validation split.
    """

    name = "cityscapes"

    def __init__(
        self,
        data_dir: InputPath,
        size: Size = (128, 256),
        num_validation: int = 595,
        weights: str | None = None,
        dropout: float = 0.5,
        data_seed: int = 0,
        network: MakeNetwork | None = None,
    ):
        check_rate(dropout=dropout)
        check_count(size=size)
        check_nonnegative(data_seed=data_seed)
        self.weights = weights
        self.dropout = dropout
        data = load_cityscapes(data_dir, size)
        number = len(data.train.images)
        if not 0 < num_validation < number:
            raise ValueError(
                f"`num_validation` must be at least 1 and less than the {number} training "
                f"scenes of {data_dir}. Received: {num_validation}"
            )
        sizes = (number - num_validation, num_validation)
        train, validation = (data.train.take(part) for part in split(number, sizes, data_seed))
        super().__init__(train, validation, data.val, network)

    def network(self, seed: int | None = None) -> keras.Model:
        head = Head(dropout=self.dropout)
        trunk = DeepLab(self.image_shape, self.outputs, self.weights, head=head)
        return self.on_deeplab(trunk, seed)
