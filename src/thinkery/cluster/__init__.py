"""A run on Ray: learner ranks, rollout workers and reward workers as actors, behind the interfaces of one process.

Ray is imported only by a run that asks for a cluster.
"""
