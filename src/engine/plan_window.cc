#include "engine/plan_window.h"

#include "wire/plan.h"

namespace exo::engine {

LedgerWindow WindowOf(const wire::Plan& plan, const model::ModelConfig& config) {
  if (config.window == 0) return {};
  LedgerWindow window{.positions = config.window,
                      .most = wire::WindowPages(config.window, plan.chunk),
                      .pages = wire::WindowedPages(plan, config.window)};
  for (const wire::StagePlan& stage : plan.stages) {
    LedgerWindow::Layers& layers = window.stages.emplace_back();
    for (uint32_t i = stage.layer_begin; i < stage.layer_end; ++i)
      ++(config.WindowOf(i) == 0 ? layers.all : layers.windowed);
  }
  return window;
}

}  // namespace exo::engine
