#include "node/pull_preview.h"

#include <algorithm>
#include <vector>

#include "base/units.h"
#include "fetch/remote_reader.h"
#include "node/vocabulary.h"
#include "wire/plan.h"

namespace exo::node {
namespace {

// The same model with blocks of another size: what is in memory is nearly what is in the file. How
// long its formats take is not known.
cluster::ModelShape Scaled(cluster::ModelShape shape, double factor) {
  const auto scale = [factor](uint64_t& bytes) {
    bytes = static_cast<uint64_t>(static_cast<double>(bytes) * factor);
  };
  std::ranges::for_each(shape.layer_bytes, scale);
  std::ranges::for_each(shape.layer_decode_bytes, scale);
  scale(shape.embedding_bytes);
  scale(shape.output_bytes);
  shape.layer_work.clear();
  shape.output_format.reset();
  return shape;
}

// The largest quantization of the repository that fits; empty: none does.
std::string FittingAlternative(const cluster::ModelShape& shape, const fetch::RemoteModel& model,
                               const std::vector<cluster::PlanNode>& nodes,
                               const cluster::PlanOptions& options) {
  std::vector<fetch::Alternative> smaller;
  for (const fetch::Alternative& one : model.alternatives) {
    if (one.bytes > 0 && one.bytes < model.bytes()) smaller.push_back(one);
  }
  std::ranges::sort(smaller, std::greater<>(), &fetch::Alternative::bytes);
  for (const fetch::Alternative& one : smaller) {
    const double factor = static_cast<double>(one.bytes) / static_cast<double>(model.bytes());
    const auto choice = cluster::MakePlan(Scaled(shape, factor), nodes, options);
    if (choice && wire::StreamedLayersOf(choice->plan) == 0)
      return fmt::format("{} ({})", one.quantization, FormatSize(one.bytes));
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const store::Manifest>> ReadRemoteHeads(const fetch::WebOptions& web,
                                                               fetch::RemoteModel& model,
                                                               const std::atomic<bool>& cancel) {
  std::vector<std::shared_ptr<fetch::RemoteReader>> readers;
  std::vector<store::OpenedFile> files;
  for (const fetch::RemoteFile& file : model.files) {
    if (file.here) return nullptr;
    readers.push_back(std::make_shared<fetch::RemoteReader>(web, file, &cancel));
    files.push_back(readers.back());
  }
  auto manifest = store::Manifest::FromFiles(files, {.identify = false, .check = &CheckRunnable});
  for (size_t i = 0; i < readers.size(); ++i) model.files[i].prefix = readers[i]->TakePrefix();
  if (manifest) return manifest;
  // The download tries again, or says why not in its own words.
  const ErrorCode code = manifest.error().code;
  if (code == ErrorCode::kDisconnected || code == ErrorCode::kOverloaded) return nullptr;
  return Wrap(manifest.error(), model.name);
}

std::string DescribeFit(const cluster::ModelShape& shape, const fetch::RemoteModel& model,
                        const std::vector<cluster::PlanNode>& nodes,
                        const cluster::PlanOptions& options) {
  const std::string size = fmt::format("{}: {}", model.name, FormatSize(model.bytes()));
  const auto choice = cluster::MakePlan(shape, nodes, options);
  if (choice && wire::StreamedLayersOf(choice->plan) == 0) {
    const double speed = choice->prediction.decode_tokens_per_second;
    return speed > 0 ? fmt::format("{}; runs here: about {:.1f} tokens/s", size, speed)
                     : fmt::format("{}; runs here; its speed is still being measured", size);
  }
  const std::string other = FittingAlternative(shape, model, nodes, options);
  if (choice) {
    return fmt::format(
        "{}; larger than the memory here, so that layers would be read from disk "
        "for each token: about {:.2f} tokens/s{}",
        size, choice->prediction.decode_tokens_per_second,
        other.empty() ? "" : fmt::format("; {} would fit", other));
  }
  return fmt::format("{}; does not run here now: {}{}", size, choice.error().message,
                     other.empty() ? "" : fmt::format("; {} would", other));
}

}  // namespace exo::node
