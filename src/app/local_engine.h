// What computing in this process needs: a device, a file, and a model in memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/settings.h"
#include "base/result.h"
#include "base/units.h"
#include "engine/local.h"
#include "store/model.h"

namespace exo::app {

// Built in order.
struct LocalEngine {
  std::unique_ptr<backend::Backend> backend;
  std::shared_ptr<const store::ModelFile> file;
  std::unique_ptr<backend::TensorSource> source;
  std::unique_ptr<engine::LocalModel> model;
  std::vector<backend::AdapterUse> adapters;  // for every sequence
};

// Without the model. Errors: those of the settings and the file; kOverloaded when the memory is
// not there, with the numbers.
Result<LocalEngine> OpenEngine(const Settings& settings, const std::string& model, unsigned threads,
                               const engine::LocalOptions& options);
// With it, and with adapters (FILE[:SCALE]).
Result<LocalEngine> LoadEngine(const Settings& settings, const std::string& model, unsigned threads,
                               engine::LocalOptions options,
                               const std::vector<std::string>& lora = {});

double Seconds(Time time);
// 0 of none.
double Median(std::vector<double> values);

}  // namespace exo::app
