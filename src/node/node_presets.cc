// Names with defaults over models: kept in the state file, and shown among the models.
#include <algorithm>

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

// On a file's thread: the state file is synced to disk.
void NodeImpl::WritePresets(std::function<void(Result<void>)> done) {
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [state = state_, text = presets_.Text()](const std::atomic<bool>&) {
        return std::pair(state->Set(kPresets, text), text);
      },
      [this, done](auto written) {
        if (!written.first) {
          return done(Fail(ErrorCode::kIo, "created models are not remembered: {}",
                           written.first.error().message));
        }
        // Two writes may have passed each other.
        if (written.second != presets_.Text()) return WritePresets(done);
        done({});
      });
  if (!begun)
    done(Fail(ErrorCode::kOverloaded, "created models are not remembered: files are busy"));
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
    WritePresets(done);
  });
}

void NodeImpl::RemovePreset(const std::string& name, std::function<void(Result<void>)> done) {
  presets_.Remove(name);
  WritePresets(std::move(done));
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
