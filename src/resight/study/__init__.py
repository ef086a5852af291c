"""Tables and figures of runs that differ in a few settings: what is missing is run, the rest is read."""

from resight.study.runs import Place, StudyRun, run_study
from resight.study.spec import Study, find_study, list_studies, quick_worlds
from resight.study.tables import write_results

__all__ = [
    "Place",
    "Study",
    "StudyRun",
    "find_study",
    "list_studies",
    "quick_worlds",
    "run_study",
    "write_results",
]
