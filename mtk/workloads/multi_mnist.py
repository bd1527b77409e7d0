"""Multi-MNIST: two overlaid digits, one task each."""

import keras

from mtk.data.digits import Digits
from mtk.data.mnist import load_mnist
from mtk.data.overlay import Pairs, make_pairs
from mtk.data.splits import split
from mtk.models.sharing import LeNet
from mtk.places import InputPath
from mtk.ranges import check_nonnegative, check_rate
from mtk.workloads.arrays import MakeNetwork
from mtk.workloads.digit_pairs import DigitPairs

_SIZE = 28
_CANVAS = 36
# Down and to the right. The paper's "bottom left" is an error: the public code that it builds on
# places the second digit here, and the tasks are called left and right.
_OFFSET = 6
_UNITS = 50  # of a dense layer
# Mean and standard deviation of MNIST's pixels, from the public code; scaled to 255.
_MEAN, _DEVIATION = 0.1307 * 255, 0.3081 * 255


class MultiMNIST(DigitPairs):
    """Left and right digit of an image, from MNIST.

    MNIST's 60,000 training digits are split at random into training and validation before they are
    paired, its 10,000 test digits are paired among themselves, so that no digit is in two splits.
    Pixels (0 … 255) are standardized by the mean 33.3 and the deviation 78.6 of MNIST's images.

    Args:
        data_dir: Path of MNIST; see `mtk.data.mnist.load_mnist`. Without it TensorFlow Datasets
            provides MNIST.
        dropout: Rate of the network's dropout layers.
        network: Makes a network with another way of sharing than a whole LeNet, such as
            `mtk.models.sharing.mmoe`; see `DigitPairs.made` for its arguments.
        num_validation: Number of training digits to use for validation.
        data_seed: Seed of the split and of the pairs.

    Reference:
        Sabour et al., *Dynamic routing between capsules* (2017), section 6, for the idea; Sener &
        Koltun, *Multi-task learning as multi-objective optimization* (2018), section 5.1, for the
        two tasks. Departure: they draw partners with replacement; here each digit is drawn once.
    """

    name = "multi_mnist"

    def __init__(
        self,
        data_dir: InputPath | None = None,
        dropout: float = 0.5,
        network: MakeNetwork | None = None,
        num_validation: int = 12_000,
        data_seed: int = 0,
    ):
        check_rate(dropout=dropout)
        check_nonnegative(data_seed=data_seed)
        self.dropout = dropout
        self._share = network
        digits, test = load_mnist(data_dir)
        number = len(digits.labels)
        if not 0 < num_validation < number:
            raise ValueError(
                "`num_validation` must be above 0 and below the number of training digits, "
                f"{number:,}. Received: num_validation={num_validation!r}"
            )
        sizes = (number - num_validation, num_validation)
        train, validation = (digits.take(half) for half in split(number, sizes, data_seed))

        def pairs(digits: Digits) -> Pairs:
            return make_pairs(digits, _OFFSET, _CANVAS, _SIZE, data_seed)

        super().__init__(pairs(train), pairs(validation), pairs(test), _MEAN, _DEVIATION)

    def network(self, seed: int | None = None) -> keras.Model:
        return self.made(LeNet((_SIZE, _SIZE, 1)), _UNITS, self.dropout, self._share, seed)
