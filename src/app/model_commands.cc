#include "app/model_commands.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/model_path.h"
#include "app/output.h"
#include "app/terminal.h"
#include "backend/devices.h"
#include "base/text.h"
#include "base/units.h"
#include "store/model.h"
#include "store/quantize.h"
#include "sys/system.h"
#include "tensor/quantize.h"

namespace exo::app {
namespace {

using nlohmann::json;

Result<void> RemovePrepared(const std::string& path, const PrepareOptions& options) {
  const uint64_t bytes = sys::Exists(path) ? TRY(sys::RealDisk().Look(path)).bytes : 0;
  if (bytes == 0) return Fail(ErrorCode::kNotFound, "{} has no prepared file", options.model);
  TRY(sys::RemoveFile(path));
  if (options.json) {
    PrintJson({{"removed", path}, {"bytes", bytes}});
  } else {
    Print("removed {} ({})\n", Printable(path), FormatSize(bytes));
  }
  return {};
}

double SecondsSince(Time start) {
  return std::chrono::duration<double>(sys::Now() - start).count();
}

uint64_t Tens(uint64_t done, uint64_t total) {
  return total == 0 ? 100 : done * 10 / total * 10;
}

Result<tensor::DType> ParseWritable(const std::string& text) {
  std::vector<std::string_view> names;
  for (const tensor::DType type : tensor::WritableTypes()) {
    names.push_back(tensor::Info(type).name);
    const bool same =
        std::ranges::equal(text, names.back(), [](char a, char b) { return std::toupper(a) == b; });
    if (same) return type;
  }
  return Fail(ErrorCode::kInvalid, "the type {} cannot be written: choose one of {}", text,
              fmt::join(names, ", "));
}

void PrintSummary(const store::QuantizeSummary& summary, const QuantizeOptions& options,
                  double seconds) {
  const auto bits = [&](uint64_t bytes) {
    return 8.0 * static_cast<double>(bytes) / static_cast<double>(summary.values);
  };
  if (options.json) {
    PrintJson({{"file", options.target},
               {"bytes", summary.bytes},
               {"bits_per_weight", bits(summary.bytes)},
               {"source_bytes", summary.source_bytes},
               {"source_bits_per_weight", bits(summary.source_bytes)},
               {"tensors", summary.tensors},
               {"requantized", summary.requantized},
               {"seconds", seconds}});
    return;
  }
  std::vector<std::string> tensors;
  for (const auto& [type, count] : summary.tensors)
    tensors.push_back(fmt::format("{} {}", count, type));
  Print("{}: {}, {:.2f} bits a weight (from {}, {:.2f}); tensors: {}; {:.1f} s, {:.0f} MB/s read\n",
        Printable(options.target), FormatSize(summary.bytes), bits(summary.bytes),
        FormatSize(summary.source_bytes), bits(summary.source_bytes), fmt::join(tensors, ", "),
        seconds, static_cast<double>(summary.source_bytes) / seconds / 1e6);
}

}  // namespace

Result<void> RunPrepare(const Settings& settings, const PrepareOptions& options) {
  const std::string model_path = TRY(FindModelPath(settings, options.model));
  const std::string folder = PreparedFolder();
  const store::SplitName split = TRY(store::ParseModelPath(model_path));
  const std::string path = store::PreparedPath(folder, split.paths[0]);
  if (options.remove) return RemovePrepared(path, options);

  const Time start = sys::Now();
  const kernels::Kernels* kernels = TRY(kernels::ChooseKernels(settings.isa));
  const auto pool = backend::MakeComputePool(options.threads);
  ProgressLine line;
  line.Show("reading " + split.name);
  const auto file = TRY(store::ModelFile::Open(model_path));
  const auto source = TRY(file->MakeSource());
  TRY(sys::MakeFolders(folder));
  const uint64_t bytes =
      TRY(store::WritePrepared({.manifest = file->manifest(),
                                .source = file->known(),
                                .tensors = *source,
                                .kernels = *kernels,
                                .pool = *pool,
                                .progress =
                                    [&](uint64_t done, uint64_t total) {
                                      line.Show(fmt::format("preparing {}, {}: {} %", split.name,
                                                            FormatSize(total), Tens(done, total)));
                                    }},
                               path));
  line.Clear();
  const double seconds = SecondsSince(start);
  if (options.json) {
    PrintJson(
        {{"file", path}, {"bytes", bytes}, {"layout", kernels->layout()}, {"seconds", seconds}});
  } else {
    Print("{} is prepared: {} in {} ({:.1f} s); exo prepare --remove frees it\n",
          Printable(split.name), FormatSize(bytes), Printable(path), seconds);
  }
  return {};
}

Result<void> RunQuantize(const Settings& settings, const QuantizeOptions& options) {
  std::optional<tensor::DType> type;
  if (!options.type.empty()) type = TRY(ParseWritable(options.type));
  const std::string source = TRY(FindModelPath(settings, options.source));
  const Time start = sys::Now();
  const auto pool = backend::MakeComputePool(options.threads);
  ProgressLine line;
  const auto summary =
      TRY(store::QuantizeModel({.source = source,
                                .type = type,
                                .overwrite = options.force,
                                .pool = *pool,
                                .progress =
                                    [&](uint64_t done, uint64_t total) {
                                      line.Show(fmt::format("writing {}, {}: {} %", options.target,
                                                            FormatSize(total), Tens(done, total)));
                                    }},
                               options.target));
  line.Clear();
  if (summary.requantized > 0) {
    Note(
        "exo: {} of {} are quantized already and lose quality once more: an F16 or BF16 file is a "
        "better source\n",
        summary.requantized == 1 ? "1 tensor" : fmt::format("{} tensors", summary.requantized),
        Printable(options.source));
  }
  PrintSummary(summary, options, SecondsSince(start));
  return {};
}

}  // namespace exo::app
