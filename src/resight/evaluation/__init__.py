"""Retrieval metrics and re-ranking of arrays of features, identities and cameras."""

from resight.evaluation.bootstrap import DRAWS, PairedDifference, paired_bootstrap
from resight.evaluation.debias import DEBIAS_FORMS, Debias, debias_by_camera
from resight.evaluation.metrics import QueryScores, RankingMetrics
from resight.evaluation.protocol import evaluate_splits
from resight.evaluation.ranking import evaluate_distances, evaluate_retrieval
from resight.evaluation.reranking import RerankOptions, rerank_distances

__all__ = [
    "DEBIAS_FORMS",
    "DRAWS",
    "Debias",
    "PairedDifference",
    "QueryScores",
    "RankingMetrics",
    "RerankOptions",
    "debias_by_camera",
    "evaluate_distances",
    "evaluate_retrieval",
    "evaluate_splits",
    "paired_bootstrap",
    "rerank_distances",
]
