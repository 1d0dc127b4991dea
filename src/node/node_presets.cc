// Names with defaults over models: kept in the state file, and shown among the models.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "node/node_impl.h"

namespace exo::node {
namespace {

constexpr const char* kPresets = "presets";

}  // namespace

void NodeImpl::RestorePresets() {
  const auto text = state_->Get(kPresets);
  if (!text) return;
  auto presets = Presets::Parse(*text);
  if (presets) {
    presets_ = *std::move(presets);
  } else {
    LOG(kError, "the list of created models is damaged and is begun anew: {}",
        presets.error().message);
  }
}

// One write at a time, of all that has changed until it begins: the whole list is up to 32 MiB, and
// is synced to disk.
void NodeImpl::WritePresets() {
  if (presets_writing_ || presets_waiting_.empty()) return;
  const auto written = [this, waiting = std::exchange(presets_waiting_, {})](Result<void> result) {
    presets_writing_ = false;
    if (!result) {
      result = Fail(result.error().code, "what was changed is forgotten when the node ends: {}",
                    result.error().message);
    }
    for (const auto& done : waiting) done(result);
    WritePresets();
  };
  presets_writing_ = jobs_.Run(
      Jobs::Class::kIo, {},
      [state = state_, presets = presets_.All()](const std::atomic<bool>&) {
        return state->Set(kPresets, Presets::Text(presets));
      },
      written);
  if (!presets_writing_) written(Fail(ErrorCode::kOverloaded, "too many files are busy"));
}

void NodeImpl::SavePreset(Preset preset, std::function<void(Result<void>)> done) {
  if (presets_.Find(preset.name) == nullptr && !MatchesOf(preset.name).empty()) {
    return done(Fail(ErrorCode::kInvalid,
                     "'{}' is the name of a model that is there already; choose another",
                     preset.name));
  }
  FindModel(preset.base, [this, preset, done](const Result<ModelId>& base) {
    if (!base) return done(std::unexpected(base.error()));
    if (auto put = presets_.Put(preset); !put) return done(std::move(put));
    presets_waiting_.push_back(done);
    WritePresets();
  });
}

void NodeImpl::RemovePreset(const std::string& name, std::function<void(Result<void>)> done) {
  presets_.Remove(name);
  presets_waiting_.push_back(std::move(done));
  WritePresets();
}

void NodeImpl::AddPresets(std::vector<ModelView>& models) const {
  const size_t files = models.size();
  for (const auto& preset : presets_.All()) {
    const auto end = models.begin() + static_cast<ptrdiff_t>(files);
    const auto base = std::ranges::find(models.begin(), end, preset->base, &ModelView::name);
    if (base == end) continue;  // its file has gone
    ModelView view = *base;
    view.name = preset->name;
    view.base = preset->base;
    view.created = preset->created;
    models.push_back(std::move(view));
  }
}

}  // namespace exo::node
