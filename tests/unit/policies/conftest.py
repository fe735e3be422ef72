"""One torch thread: tests of tiny models only lose by more, and badly so on a busy machine."""

import torch

torch.set_num_threads(1)
