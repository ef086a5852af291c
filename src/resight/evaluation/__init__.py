"""Ranking metrics, the retrieval protocol and re-ranking, on plain arrays."""

from resight.evaluation.protocol import evaluate_splits
from resight.evaluation.ranking import RankingMetrics, evaluate_distances, evaluate_retrieval
from resight.evaluation.reranking import RerankOptions, rerank_distances

__all__ = [
    "RankingMetrics",
    "RerankOptions",
    "evaluate_distances",
    "evaluate_retrieval",
    "evaluate_splits",
    "rerank_distances",
]
