"""Retrieval metrics and re-ranking of arrays of features, identities and cameras."""

from resight.evaluation.metrics import RankingMetrics
from resight.evaluation.protocol import evaluate_splits
from resight.evaluation.ranking import evaluate_distances, evaluate_retrieval
from resight.evaluation.reranking import RerankOptions, rerank_distances

__all__ = [
    "RankingMetrics",
    "RerankOptions",
    "evaluate_distances",
    "evaluate_retrieval",
    "evaluate_splits",
    "rerank_distances",
]
