// What is reserved of the layers with a window in a plan's stages: the lead and every stage reckon
// with the same figures.
#pragma once

#include "engine/page_ledger.h"
#include "model/config.h"
#include "wire/messages.h"

namespace exo::engine {

LedgerWindow WindowOf(const wire::Plan& plan, const model::ModelConfig& config);

}  // namespace exo::engine
