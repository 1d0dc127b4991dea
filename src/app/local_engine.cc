#include "app/local_engine.h"

#include <algorithm>

#include "app/adapter_option.h"
#include "app/model_path.h"
#include "backend/devices.h"
#include "sys/system.h"

namespace exo::app {
namespace {

// Refuses with the numbers what the system could only answer by killing somebody.
Result<void> CheckMemory(const LocalEngine& engine, const engine::LocalOptions& options) {
  const store::Manifest& manifest = engine.file->manifest();
  const backend::StageBytes need = engine.backend->Estimate({.config = manifest.config(),
                                                             .tensors = manifest.tensors(),
                                                             .layer_begin = 0,
                                                             .layer_end = manifest.config()->layers,
                                                             .lead = true,
                                                             .kv_type = options.kv_type,
                                                             .chunk = options.chunk,
                                                             .adapters = options.adapters});
  const auto prepared = engine.file->OpenPrepared();
  const bool mapped = prepared != nullptr && prepared->layout() == engine.backend->layout();
  const uint64_t bytes = need.scratch + (mapped ? 0 : need.weights);
  const sys::MemoryInfo memory = sys::ReadMemory();
  if (bytes <= memory.available) return {};
  const SizePair sizes = FormatSizes(bytes, memory.available);
  return Fail(
      ErrorCode::kOverloaded,
      "{} needs {} of memory, {} of {} are free; a cluster of several devices could hold it",
      engine.file->name(), sizes.first, sizes.second, FormatSize(memory.total));
}

// FILE[:SCALE] to go with the engine's model.
Result<void> AddAdapter(const Settings& settings, const std::string& text, LocalEngine& engine,
                        engine::LocalOptions& options) {
  const node::AdapterChoice choice = TRY(ParseAdapter(text));
  const std::string path = TRY(FindModelPath(settings, choice.file));
  const auto file =
      TRY(store::ModelFile::Open(path, {.manifest = {.identify = false}, .adapters = true}));
  const store::Manifest& base = engine.file->manifest();
  auto tensors = model::FindAdapter(file->manifest().gguf(), *base.config(), *base.tensors());
  if (!tensors) return Wrap(tensors.error(), path);
  const auto index = static_cast<uint32_t>(options.adapters.size());
  options.adapters.push_back({std::make_shared<const model::AdapterTensors>(*std::move(tensors)),
                              TRY(file->MakeSource())});
  if (choice.scale != 0) engine.adapters.push_back({index, choice.scale});
  return {};
}

}  // namespace

Result<LocalEngine> OpenEngine(const Settings& settings, const std::string& model, unsigned threads,
                               const engine::LocalOptions& options) {
  LocalEngine engine;
  engine.backend = TRY(backend::MakeBackend(
      {.isa = settings.isa, .threads = threads, .copy_prepared = settings.copy_prepared}));
  engine.file = TRY(store::ModelFile::Open(
      TRY(FindModelPath(settings, model)),
      {.prepared_folder = PreparedFolder(), .manifest = {.identify = false}}));
  engine.source = TRY(engine.file->MakeSource());
  TRY(CheckMemory(engine, options));
  return engine;
}

Result<LocalEngine> LoadEngine(const Settings& settings, const std::string& model, unsigned threads,
                               engine::LocalOptions options, const std::vector<std::string>& lora) {
  LocalEngine engine = TRY(OpenEngine(settings, model, threads, options));
  for (const std::string& text : lora) TRY(AddAdapter(settings, text, engine, options));
  const store::Manifest& manifest = engine.file->manifest();
  engine.model = TRY(engine::LocalModel::Load(*engine.backend, manifest.config(),
                                              manifest.tensors(), *engine.source, options));
  return engine;
}

double Seconds(Time time) {
  return std::chrono::duration<double>(time).count();
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace exo::app
