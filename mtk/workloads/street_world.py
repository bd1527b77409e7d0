"""Synthetic street scenes: CityScapes' tasks without a download."""

import tempfile

import keras

from mtk.data.cityscapes import load_cityscapes
from mtk.data.splits import split
from mtk.data.streets import Size
from mtk.data.synthetic_streets.files import write_world
from mtk.models.deeplab import Head
from mtk.models.sharing import DeepLab
from mtk.ranges import check_count, check_nonnegative, check_rate
from mtk.workloads.arrays import MakeNetwork
from mtk.workloads.street_scenes import StreetScenes


class StreetWorld(StreetScenes):
    """Segmentation and depth of synthetic streets; see `mtk.data.synthetic_streets.files`.

    The scenes are written in CityScapes' official layout and read like CityScapes, so that a
    training covers the whole pipeline.

    Args:
        num_train: Number of training scenes.
        num_validation: Number of validation scenes.
        num_test: Number of test scenes.
        size: Height and width of a scene.
        blocks: Number of blocks of the network's four stages.
        widths: Channels of the network's four stages.
        output_stride: Ratio of the image size to that of the network's features.
        rates: Dilation rates of the heads.
        head_width: Channels within a head.
        dropout: Rate of the heads' dropout.
        data_seed: Seed of the world.
        network: Makes a network with another way of sharing; see `StreetScenes`.
    """

    name = "street_world"

    def __init__(
        self,
        num_train: int = 400,
        num_validation: int = 100,
        num_test: int = 100,
        size: Size = (64, 128),
        blocks: tuple[int, int, int, int] = (1, 1, 1, 1),
        widths: tuple[int, int, int, int] = (16, 24, 32, 48),
        output_stride: int = 4,
        rates: tuple[int, ...] = (2, 4, 8),
        head_width: int = 48,
        dropout: float = 0.1,
        data_seed: int = 0,
        network: MakeNetwork | None = None,
    ):
        check_rate(dropout=dropout)
        check_count(num_train=num_train, num_validation=num_validation, num_test=num_test)
        check_count(size=size, blocks=blocks, widths=widths, rates=rates, head_width=head_width)
        check_nonnegative(data_seed=data_seed)
        self.blocks = blocks
        self.widths = widths
        self.output_stride = output_stride
        self.head = Head(head_width, rates, dropout)
        with tempfile.TemporaryDirectory() as folder:
            write_world(folder, num_train + num_validation, num_test, size, data_seed)
            data = load_cityscapes(folder, size)
        sizes = (num_train, num_validation)
        parts = split(num_train + num_validation, sizes, data_seed)
        train, validation = (data.train.take(part) for part in parts)
        super().__init__(train, validation, data.val, network)

    def network(self, seed: int | None = None) -> keras.Model:
        trunk = DeepLab(
            self.image_shape,
            self.outputs,
            output_stride=self.output_stride,
            blocks=self.blocks,
            widths=self.widths,
            head=self.head,
            synchronized=False,
        )
        return self.on_deeplab(trunk, seed)
