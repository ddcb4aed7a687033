//! The lazy graph, its transforms and the planner of lazulite.
