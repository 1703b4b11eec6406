"""Data sets that somebody publishes: where their files are, and what they are known by."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remote:
    """A data set that somebody publishes.

    Args:
        url: of the folder with its files.
        files: their names, sizes in bytes and SHA-256 digests.
        folder: that the one file, an archive, unpacks to; empty where the files are used as they are.
    """

    url: str
    files: tuple[tuple[str, int, str], ...]
    folder: str = ""


def _idx(url: str, *sizes_and_digests: tuple[int, str]) -> Remote:
    """Return a set of MNIST's four files, in this order."""
    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return Remote(
        url,
        tuple((f"{stem}-ubyte.gz", *known) for stem, known in zip(stems, sizes_and_digests, strict=True)),
    )


# Sizes and digests are those that TensorFlow Datasets publishes.
REMOTE = {
    "mnist": _idx(
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    "fashion-mnist": _idx(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    "cifar10": Remote(
        "https://www.cs.toronto.edu/~kriz",
        (("cifar-10-binary.tar.gz", 170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),),
        "cifar-10-batches-bin",
    ),
    "flowers": Remote(
        "http://download.tensorflow.org/example_images",
        (("flower_photos.tgz", 228_813_984, "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c"),),
        "flower_photos",
    ),
}
