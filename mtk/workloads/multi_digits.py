"""Multi-digits: Multi-MNIST's construction with digits that need no download."""

import keras

from mtk.data.digits import load_digits
from mtk.data.overlay import make_pairs
from mtk.data.splits import split
from mtk.models.sharing import LeNet
from mtk.ranges import check_count, check_nonnegative, check_rate
from mtk.workloads.arrays import MakeNetwork
from mtk.workloads.digit_pairs import DigitPairs

_BRIGHTEST = 16  # value of a white pixel


class MultiDigits(DigitPairs):
    """Left and right digit of an image, from the 1,797 digits of scikit-learn.

    The digits are split first and paired within their split, so that no image of the test split
    shows a digit of the training split. Pixels are scaled to -1 … 1.

    Args:
        dropout: Rate of the network's dropout layers.
        offset: Offset in pixels between the digits, each 8 pixels wide: with 2 they overlap about
            as much as in Multi-MNIST. An even number, since the pooling drops odd rows.
        partners: Number of partners of each digit.
        channels: Channels of the network's two convolutions.
        units: Units of its dense layers.
        network: Makes a network with another way of sharing than a whole LeNet, such as
            `mtk.models.sharing.mmoe`; see `DigitPairs.made` for its arguments.
        data_seed: Seed of the split and of the pairs.

    Reference:
        Alpaydin & Kaynak, *Optical Recognition of Handwritten Digits*, UCI repository (1998).
    """

    name = "multi_digits"

    def __init__(
        self,
        dropout: float = 0.1,
        offset: int = 2,
        partners: int = 10,
        channels: tuple[int, int] = (32, 64),
        units: int = 64,
        network: MakeNetwork | None = None,
        data_seed: int = 0,
    ):
        check_rate(dropout=dropout)
        check_count(partners=partners, channels=channels, units=units)
        check_nonnegative(data_seed=data_seed)
        digits = load_digits()
        self.size = digits.images.shape[1] + offset
        self.dropout = dropout
        self.channels = channels
        self.units = units
        self._share = network
        number = len(digits.labels)
        held_out = number // 5
        sizes = (number - 2 * held_out, held_out, held_out)
        train, validation, test = (
            make_pairs(digits.take(indices), offset, self.size, self.size, data_seed, partners)
            for indices in split(number, sizes, data_seed)
        )
        # Half of the range as mean and deviation scales the pixels to -1 ... 1.
        super().__init__(train, validation, test, mean=_BRIGHTEST / 2, deviation=_BRIGHTEST / 2)

    def network(self, seed: int | None = None) -> keras.Model:
        trunk = LeNet((self.size, self.size, 1), channels=self.channels, kernel=3)
        return self.made(trunk, self.units, self.dropout, self._share, seed)
