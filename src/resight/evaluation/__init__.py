"""Retrieval metrics and re-ranking of arrays of features, identities and cameras."""

from resight.evaluation.bootstrap import DRAWS, PairedDifference, paired_bootstrap
from resight.evaluation.metrics import QueryScores, RankingMetrics
from resight.evaluation.protocol import evaluate_splits
from resight.evaluation.ranking import evaluate_distances, evaluate_retrieval
from resight.evaluation.reranking import RerankOptions, rerank_distances

__all__ = [
    "DRAWS",
    "PairedDifference",
    "QueryScores",
    "RankingMetrics",
    "RerankOptions",
    "evaluate_distances",
    "evaluate_retrieval",
    "evaluate_splits",
    "paired_bootstrap",
    "rerank_distances",
]
