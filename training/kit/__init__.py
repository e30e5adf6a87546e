"""What every training needs: the loop, the folder of a run, optimisers, processes, randomness."""
