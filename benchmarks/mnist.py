"""LeNet-5 on MNIST, by its recipe: python benchmarks/mnist.py --data FOLDER_WITH_THE_FOUR_FILES."""

from accuracy import run
from record import ROOT

if __name__ == "__main__":
    run("lenet5-mnist", str(ROOT.parent / "shared" / "data" / "mnist"))
