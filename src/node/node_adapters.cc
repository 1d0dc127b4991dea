// Low-rank adapters: their files, and models that are loaded with them.
#include <fmt/ranges.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "base/units.h"
#include "cluster/planner.h"
#include "node/node_impl.h"
#include "wire/plan.h"

namespace exo::node {
namespace {

// Bytes that a stage takes at most for an adapter, whatever its layers: A and B as packed f32 rows,
// and rows of one step on their way through three of the widest products (backend/cpu/adapters.h).
uint64_t MostBytes(const model::Gguf& gguf) {
  const uint64_t chunk = cluster::PlanOptions{}.chunk;
  uint64_t weights = 0, widest_in = 0, widest_out = 0, rank = 0;
  for (const model::GgufTensor& tensor : gguf.tensors()) {
    const uint64_t cols = RoundUp(tensor.dims[0], 128), rows = RoundUp(tensor.dims[1], 16);
    weights += rows * cols * sizeof(float);
    const bool is_a = tensor.name.ends_with(".lora_a");
    (is_a ? widest_in : rank) = std::max(is_a ? widest_in : rank, cols);
    (is_a ? rank : widest_out) = std::max(is_a ? rank : widest_out, rows);
  }
  return weights + chunk * sizeof(float) * (widest_in + 6 * rank + 3 * widest_out);
}

}  // namespace

std::string NamesOf(const std::vector<wire::AdapterRef>& adapters) {
  std::string names;
  for (const wire::AdapterRef& adapter : adapters)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", adapter.name);
  return names.empty() ? "no adapters" : names;
}

bool SameAdapters(const std::vector<wire::AdapterRef>& a, const std::vector<wire::AdapterRef>& b) {
  return std::ranges::equal(a, b, [](const wire::AdapterRef& x, const wire::AdapterRef& y) {
    return x.file == y.file && x.scale == y.scale;
  });
}

std::vector<AdapterChoice> NodeImpl::AdaptersOfSettings(const ModelId& model) const {
  std::vector<AdapterChoice> adapters;
  for (const NodeOptions::ModelAdapter& one : options_.adapters) {
    if (MatchesOf(one.model).contains(model)) adapters.push_back(one.adapter);
  }
  return adapters;
}

void NodeImpl::CheckAdaptersOfSettings() {
  for (const NodeOptions::ModelAdapter& one : options_.adapters) {
    const auto matches = MatchesOf(one.model);
    if (matches.empty()) {
      LOG(kWarning, "the setting 'lora' is for the model '{}', which nobody has; known are: {}",
          one.model, fmt::join(KnownNames(), ", "));
      continue;
    }
    FindAdapters(matches.begin()->first, {one.adapter}, [](const auto& found) {
      if (!found) LOG(kWarning, "the setting 'lora': {}", found.error().message);
    });
  }
}

void NodeImpl::FindAdapters(const ModelId& model, std::vector<AdapterChoice> wanted,
                            FoundAdapters done) {
  if (wanted.size() > wire::kMaxAdapters) {
    return done(Fail(ErrorCode::kInvalid, "{} adapters for one model ({} at most)", wanted.size(),
                     wire::kMaxAdapters));
  }
  const auto used = std::ranges::count_if(wanted, [](const auto& one) { return one.scale != 0; });
  if (used > wire::kMaxAdaptersUsed) {
    return done(Fail(ErrorCode::kInvalid,
                     "{} adapters at once ({} at most): give the others a scale of 0, requests can "
                     "choose among them",
                     used, wire::kMaxAdaptersUsed));
  }
  FindNextAdapter(model, std::move(wanted), {}, std::move(done));
}

void NodeImpl::FindNextAdapter(const ModelId& model, std::vector<AdapterChoice> wanted,
                               std::vector<wire::AdapterRef> found, FoundAdapters done) {
  if (found.size() == wanted.size()) return done(std::move(found));
  const AdapterChoice next = wanted[found.size()];
  const auto opened = [this, model, wanted, found, done,
                       next](Result<std::shared_ptr<const store::ModelFile>> file) mutable {
    if (!file) return done(Wrap(file.error(), fmt::format("the adapter {}", next.file)));
    auto checked = CheckAdapter(model, **file, next.scale);
    if (!checked) {
      Error error = checked.error();
      if (error.code == ErrorCode::kCorrupt) error.code = ErrorCode::kInvalid;  // it was given here
      return done(Wrap(error, fmt::format("the adapter {}", next.file)));
    }
    for (const wire::AdapterRef& other : found) {
      if (other.file == checked->file) {
        return done(Fail(ErrorCode::kInvalid, "the adapter {} is the same file as {}", next.file,
                         other.name));
      }
    }
    found.push_back(*std::move(checked));
    FindNextAdapter(model, std::move(wanted), std::move(found), std::move(done));
  };
  if (next.file.find('/') != std::string::npos) return models_->Open(next.file, opened);
  models_->Await(next.file, opened);
}

Result<wire::AdapterRef> NodeImpl::CheckAdapter(const ModelId& model, const store::ModelFile& file,
                                                float scale) const {
  const store::Manifest& manifest = file.manifest();
  if (manifest.adapter() == nullptr)
    return Fail(ErrorCode::kInvalid, "this is a model and no adapter of one");
  // Otherwise the stages find out.
  if (const auto base = ManifestOf(model); base != nullptr && base->CheckIsModel())
    TRY(model::FindAdapter(manifest.gguf(), *base->config(), *base->tensors()));
  std::string name = ToUtf8(file.name());
  if (name.size() > wire::kMaxName) name = manifest.id().Short();
  return wire::AdapterRef{.file = manifest.id(),
                          .name = std::move(name),
                          .scale = scale,
                          .bytes = MostBytes(manifest.gguf())};
}

std::vector<AdapterOptions> NodeImpl::AdaptersOf(const wire::Plan& plan) const {
  std::vector<AdapterOptions> adapters;
  for (const wire::AdapterRef& adapter : plan.adapters) {
    AdapterOptions& one = adapters.emplace_back();
    one.file = models_->Find(adapter.file);
    one.pull = {
        .model = adapter.file, .model_name = adapter.name, .holders = {}, .what = "adapter"};
    for (const NodeId& holder : HoldersOf(adapter.file))
      one.pull.holders.push_back(TargetOf(holder, wire::Channel::kBulk, plan.id));
  }
  return adapters;
}

void NodeImpl::EnsureAdapted(cluster::EnsureModel event, std::vector<AdapterChoice> wanted,
                             std::function<void(Result<wire::Plan>)> done) {
  const ModelId model = event.model;
  FindAdapters(
      model, std::move(wanted),
      [this, event = std::move(event), done](Result<std::vector<wire::AdapterRef>> found) mutable {
        if (!found) return done(std::unexpected(found.error()));
        event.adapters = *found;
        for (const wire::AdapterRef& adapter : *found) RememberFile(adapter.file);
        const bool exactly = (event.named & wire::kNamedAdapters) != 0;
        EnsureWith(std::move(event), [done, exactly, wanted = *found](Result<wire::Plan> plan) {
          if (plan && exactly && !SameAdapters(plan->adapters, wanted)) {
            return done(Fail(ErrorCode::kOverloaded,
                             "{} runs with {}; `exo stop {}` it before it is loaded with {}",
                             plan->model_name, NamesOf(plan->adapters), plan->model_name,
                             NamesOf(wanted)));
          }
          done(std::move(plan));
        });
      });
}

}  // namespace exo::node
