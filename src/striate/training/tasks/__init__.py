"""The tasks: what `striate.training.task` asks, for each kind of thing that can be learned of images."""

from striate.training.tasks.classification import Classification as Classification
from striate.training.tasks.detection import Detection as Detection
from striate.training.tasks.images import ImageTask as ImageTask
from striate.training.tasks.images import LabelledImages as LabelledImages
from striate.training.tasks.regression import Regression as Regression
from striate.training.tasks.segmentation import Segmentation as Segmentation
