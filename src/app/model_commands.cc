#include "app/model_commands.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "app/model_path.h"
#include "app/terminal.h"
#include "backend/cpu/cpu.h"
#include "base/units.h"
#include "store/model.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using nlohmann::json;

Result<void> RemovePrepared(const std::string& path, const PrepareOptions& options) {
  const uint64_t bytes = sys::Exists(path) ? TRY(sys::MappedFile::Open(path))->bytes().size() : 0;
  if (bytes == 0) return Fail(ErrorCode::kNotFound, "{} has no prepared file", options.model);
  TRY(sys::RemoveFile(path));
  if (options.json) {
    fmt::print("{}\n", json{{"removed", path}, {"bytes", bytes}}.dump());
  } else {
    fmt::print("removed {} ({})\n", path, FormatSize(bytes));
  }
  return {};
}

}  // namespace

Result<void> RunPrepare(const PrepareOptions& options) {
  const std::string model_path = TRY(FindModelPath(options.model));
  const std::string folder = PreparedFolder();
  const store::SplitName split = TRY(store::ParseModelPath(model_path));
  const std::string path = store::PreparedPath(folder, split.paths[0]);
  if (options.remove) return RemovePrepared(path, options);

  const Time start = sys::Now();
  const char* forced = std::getenv("EXO_ISA");
  const kernels::Kernels* kernels = TRY(kernels::ChooseKernels(forced == nullptr ? "" : forced));
  const auto pool = backend::MakeComputePool(options.threads == 0 ? sys::UsableCores() : options.threads);
  ProgressLine line;
  line.Show("reading " + split.name);
  const auto file = TRY(store::ModelFile::Open(model_path));
  const auto source = file->MakeSource();
  TRY(sys::MakeFolders(folder));
  const uint64_t bytes = TRY(store::WritePrepared(
      {.manifest = file->manifest(),
       .source = file->known(),
       .tensors = *source,
       .kernels = *kernels,
       .pool = *pool,
       .progress = [&](uint64_t done, uint64_t total) {
         line.Show(fmt::format("preparing {}, {}: {} %", split.name, FormatSize(total), done * 10 / total * 10));
       }},
      path));
  line.Clear();
  const double seconds = std::chrono::duration<double>(sys::Now() - start).count();
  if (options.json) {
    fmt::print("{}\n", json{{"file", path}, {"bytes", bytes}, {"layout", kernels->layout()}, {"seconds", seconds}}.dump());
  } else {
    fmt::print("{} is prepared: {} in {} ({:.1f} s); exo prepare --remove frees it\n", split.name, FormatSize(bytes),
               path, seconds);
  }
  return {};
}

}  // namespace exo::app
