// Loads one stage of a plan: describes the model, fetches the stage's tensors, packs them.
#pragma once

#include <atomic>
#include <memory>

#include "backend/backend.h"
#include "base/result.h"
#include "engine/local.h"
#include "engine/stage_source.h"
#include "engine/stage_worker.h"
#include "wire/messages.h"

namespace exo::engine {

// Blocks: runner threads only. Errors: those of the source and of Backend::Load; kInvalid when the
// plan does not fit the model; kOverloaded before anything is fetched when the stage needs more
// than the plan reserves; kCancelled.
Result<std::unique_ptr<StageWorker>> LoadStage(StageSource& source, backend::Backend& backend,
                                               const wire::Plan& plan, uint32_t stage,
                                               const Progress& progress,
                                               const std::atomic<bool>* cancel);

// The plan's draft model, whole, within the memory that the plan reserves for it. Blocks. Errors:
// as above.
Result<std::unique_ptr<LocalModel>> LoadDraft(StageSource& source, backend::Backend& backend,
                                              const wire::Plan& plan,
                                              const std::atomic<bool>* cancel);

}  // namespace exo::engine
