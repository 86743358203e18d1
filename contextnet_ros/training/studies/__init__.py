"""The studies of section 3.2: what each trains, what it measures, the table it ends in."""

from contextnet_ros.training.studies.branches import BRANCHES, ZEROED
from contextnet_ros.training.studies.levers import LEVERS
from contextnet_ros.training.studies.networks import NETWORKS
from contextnet_ros.training.studies.pruning_gain import PRUNING
from contextnet_ros.training.studies.recordings import RECORDINGS
from contextnet_ros.training.studies.study import Options, Study, train_all
from contextnet_ros.training.studies.variants import VARIANTS_STUDY

STUDIES = {
    study.name: study
    for study in (VARIANTS_STUDY, BRANCHES, PRUNING, NETWORKS, RECORDINGS, LEVERS, ZEROED)
}
"""By their names on the command line."""

PAPER = (VARIANTS_STUDY, BRANCHES, PRUNING, NETWORKS)
"""Those of the paper, whose trainings overlap."""

__all__ = ["PAPER", "STUDIES", "Options", "Study", "train_all"]
