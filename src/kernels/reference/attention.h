// Keys, values and attention (rule 3, "attention").
#pragma once

#include "kernels/kernels.h"

namespace exo::kernels::reference {

void StoreKv(const KvHead& kv, size_t position, const float* k, const float* v);

// One query head q [head_dim] against positions [begin, end), at least one. scores: scratch [end].
void AttendHead(const KvHead& kv, const float* q, size_t begin, size_t end, float scale,
                float* scores, float* out);

}  // namespace exo::kernels::reference
