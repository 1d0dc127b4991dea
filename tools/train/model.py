"""The Llama-architecture model that train.py trains: float32 master weights, bfloat16 arithmetic.

Weights of all layers are stacked ([layer, out, in]) so that the optimizer treats equal shapes together.
RoPE turns the two halves of a head (pair i, i + head_dim / 2); export.py permutes to GGUF's order.
"""
import torch
import torch.nn.functional as F

MATRICES = ["wq", "wk", "wv", "wo", "gate", "up", "down"]
GAINS = ["attention_norm", "ffn_norm"]


class Model(torch.nn.Module):

    def __init__(self, shape, vocab):
        super().__init__()
        self.shape, self.vocab = shape, vocab
        d, n, f = shape["dim"], shape["layers"], shape["ffn"]
        q, kv = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
        sizes = {"wq": (q, d), "wk": (kv, d), "wv": (kv, d), "wo": (d, q),
                 "gate": (f, d), "up": (f, d), "down": (d, f)}
        self.embedding = torch.nn.Parameter(torch.randn(vocab, d) * 0.02)
        for name, (rows, columns) in sizes.items():
            scale = columns ** -0.5 / ((2 * n) ** 0.5 if name in ("wo", "down") else 1)
            self.register_parameter(name, torch.nn.Parameter(torch.randn(n, rows, columns) * scale))
        for name in GAINS:
            self.register_parameter(name, torch.nn.Parameter(torch.ones(n, d)))
        self.output_norm = torch.nn.Parameter(torch.ones(d))
        angle = torch.outer(torch.arange(shape["context"]).float(),
                            shape["rope_base"] ** (-torch.arange(0, shape["head_dim"], 2) / shape["head_dim"]))
        self.cosine, self.sine = angle.cos(), angle.sin()

    def forward(self, ids, mask, dtype=torch.bfloat16):
        """ids [batch, time], mask [batch, 1, time, time] to be added; returns float32 logits."""
        w = {k: v.to(dtype) for k, v in self.named_parameters()}
        layers = {k: w[k].unbind(0) for k in MATRICES + GAINS}
        time = ids.shape[1]
        turn = [t[:time].to(dtype) for t in (self.cosine, self.sine)]
        mask = mask.to(dtype)
        x = F.embedding(ids, w["embedding"])
        for i in range(self.shape["layers"]):
            p = {k: v[i] for k, v in layers.items()}
            x = x + self.attention(self.norm(x, p["attention_norm"]), p, turn, mask)
            h = self.norm(x, p["ffn_norm"])
            x = x + F.linear(F.silu(F.linear(h, p["gate"])) * F.linear(h, p["up"]), p["down"])
        return F.linear(self.norm(x, w["output_norm"]), w["embedding"]).float()

    def norm(self, x, gain):
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.shape["norm_eps"])
        return x * scale.to(x.dtype) * gain

    def attention(self, x, p, turn, mask):
        s = self.shape
        batch, time, _ = x.shape
        kv, group, hd = s["kv_heads"], s["heads"] // s["kv_heads"], s["head_dim"]

        def heads(weight):
            return F.linear(x, weight).view(batch, time, -1, hd).transpose(1, 2)

        q, k, v = rotate(heads(p["wq"]), turn), rotate(heads(p["wk"]), turn), heads(p["wv"])
        q = q.reshape(batch * kv, group * time, hd) * hd ** -0.5
        k, v = k.reshape(batch * kv, time, hd), v.reshape(batch * kv, time, hd)
        scores = torch.bmm(q, k.transpose(1, 2)).view(batch, s["heads"], time, time) + mask
        weights = torch.softmax(scores, -1).view(batch * kv, group * time, time)
        out = torch.bmm(weights, v).view(batch, s["heads"], time, hd)
        return F.linear(out.transpose(1, 2).reshape(batch, time, -1), p["wo"])


def rotate(x, turn):
    """RoPE over the two halves of the last axis of x [batch, head, time, head_dim]."""
    a, b = x.chunk(2, -1)
    cosine, sine = turn
    return torch.cat((a * cosine - b * sine, b * cosine + a * sine), -1)


def document_mask(owner):
    """Additive mask [batch, 1, time, time]: a token sees earlier tokens of its own document only."""
    time = owner.shape[1]
    seen = (owner[:, :, None] == owner[:, None, :]) & torch.ones(time, time, dtype=torch.bool).tril()
    return torch.zeros(seen.shape).masked_fill(~seen, float("-inf"))[:, None]
