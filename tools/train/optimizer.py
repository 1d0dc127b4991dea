"""Muon for the stacked matrices (Jordan et al. 2024) and AdamW for the rest, in one step function."""
import torch

import model as model_code


def orthogonalise(g):
    """Five Newton-Schulz steps in bfloat16 on g [n, rows, columns]: about U V^T of each matrix."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = (x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).bfloat16()).contiguous()
    for _ in range(5):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = a * x + torch.bmm(b * gram + c * torch.bmm(gram, gram), x)
    return (x.transpose(1, 2) if tall else x).float()


class Optimizer:

    def __init__(self, model, settings):
        self.s = settings
        named = dict(model.named_parameters())
        self.matrices = [named[k] for k in model_code.MATRICES]
        self.rest = [v for k, v in named.items() if k not in model_code.MATRICES]
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        beta1, beta2 = settings["adam_betas"]
        self.adam = torch.optim.AdamW(self.rest, lr=settings["adam_rate"], betas=(beta1, beta2),
                                      weight_decay=settings["adam_weight_decay"])

    @torch.no_grad()
    def step(self, step, factor):
        """One update with every rate multiplied by `factor`."""
        beta = min(0.85 + 0.10 * step / 300, self.s["muon_momentum"])
        rate = self.s["muon_rate"] * factor
        for p, m in zip(self.matrices, self.momentum):
            m.lerp_(p.grad, 1 - beta)
            update = orthogonalise(p.grad.lerp(m, beta))
            p.mul_(1 - rate * self.s["muon_weight_decay"])
            p.add_(update, alpha=-rate * max(1.0, p.shape[1] / p.shape[2]) ** 0.5)
        for group in self.adam.param_groups:
            group["lr"] = self.s["adam_rate"] * factor
        self.adam.step()

    def state(self):
        return {"momentum": self.momentum, "adam": self.adam.state_dict()}

    def load(self, state):
        self.momentum = state["momentum"]
        self.adam.load_state_dict(state["adam"])
