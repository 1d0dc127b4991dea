// Keys, values and attention (rule 7).
#pragma once

#include "kernels/kernels.h"

namespace exo::kernels::reference {

void StoreKv(const KvHead& kv, size_t position, const float* k, const float* v);

// Scratch of AttendHead over positions below `end`.
size_t AttendScratchBytes(size_t end, size_t head_dim);
// One query head q [head_dim] against positions [begin, end), at least one.
void AttendHead(const KvHead& kv, const float* q, size_t begin, size_t end, float scale,
                std::byte* scratch, float* out);

}  // namespace exo::kernels::reference
