// Desired models between starts: the records of the cluster core as one setting of the state file,
// in their wire form (a message that a newer version has extended stays readable).
#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "node/node_impl.h"
#include "wire/codec.h"

namespace exo::node {
namespace {

constexpr const char* kSetting = "desired_models";

std::string ToHex(std::span<const std::byte> bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

// Empty when it is not hexadecimal.
std::vector<std::byte> FromHex(std::string_view text) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, value, 16);
    if (error != std::errc{} || end != text.data() + i + 2) return {};
    bytes.push_back(static_cast<std::byte>(value));
  }
  return bytes;
}

}  // namespace

void NodeImpl::Do(cluster::SaveDesired& effect) {
  desired_unsaved_ = ToHex(wire::EncodeFrame(wire::DesiredUpdate{effect.records}, 0));
  SaveDesired();
}

// Not on the loop: the state file is synced to disk. One write at a time, of the newest records.
void NodeImpl::SaveDesired() {
  if (!desired_unsaved_ || desired_saving_) return;
  const auto save = [state = state_, text = *desired_unsaved_](const std::atomic<bool>&) {
    return std::pair(state->Set(kSetting, text), text);
  };
  desired_saving_ = jobs_.Run(Jobs::Class::kIo, {}, save, [this](auto saved) {
    desired_saving_ = false;
    if (!saved.first) {
      LOG(kError, "the models to keep running are not remembered: {}", saved.first.error().message);
    }
    if (desired_unsaved_ == saved.second) desired_unsaved_.reset();
    SaveDesired();
  });
  if (!desired_saving_)
    LOG(kError, "the models to keep running are not remembered yet: files are busy");
}

// What no job has written when the node ends is written now.
void NodeImpl::FlushDesired() {
  if (!desired_unsaved_) return;
  if (auto saved = state_->Set(kSetting, *desired_unsaved_); !saved)
    LOG(kError, "the models to keep running are not remembered: {}", saved.error().message);
}

void NodeImpl::RestoreDesired() {
  const auto text = state_->Get(kSetting);
  if (!text) return;
  const std::vector<std::byte> frame = FromHex(*text);
  const auto header =
      wire::ParseHeader(std::span(frame).first(std::min<size_t>(frame.size(), wire::kHeaderBytes)),
                        wire::kMaxControlFrame);
  if (!header || header->FrameBytes() != frame.size()) {
    LOG(kWarning, "the list of models to keep running is damaged and is begun anew");
    return;
  }
  auto message = wire::DecodeMessage(header->type, std::span(frame).subspan(wire::kHeaderBytes));
  const auto* update = message ? std::get_if<wire::DesiredUpdate>(&*message) : nullptr;
  if (update == nullptr) {
    LOG(kWarning, "the list of models to keep running is damaged and is begun anew");
    return;
  }
  for (const wire::DesiredModel& record : update->models) {
    const bool ended = record.state == wire::DesiredState::kUnloaded;
    if (!ended && record.settings_of == identity_->id()) unrevised_.insert(record.model);
  }
  Feed(cluster::RestoreDesired{update->models});
}

// When the model's file is known: nobody here has it running before that.
bool NodeImpl::FollowSettings(const ModelId& model) {
  if (unrevised_.erase(model) == 0) return !revising_.contains(model);
  for (const wire::DesiredModel& record : core_->DesiredRecords()) {
    if (record.model != model || record.settings_of != identity_->id()) continue;
    const bool named = (record.named & wire::kNamedAdapters) != 0;
    auto wanted = named ? std::vector<AdapterChoice>{} : AdaptersOfSettings(model);
    if (wanted.empty()) {
      Revise(record, named ? record.adapters : std::vector<wire::AdapterRef>{});
      return true;
    }
    revising_[model];
    FindAdapters(model, std::move(wanted), OnLoop([this, record](auto found) {
                   if (!found) {
                     LOG(kError, "a model comes back as it was, not as the setting 'lora' says: {}",
                         found.error().message);
                   }
                   Revise(record, found.value_or(record.adapters));
                   const auto waiting = revising_.extract(record.model);
                   OnModelsChanged();
                   for (const auto& go_on : waiting.mapped()) go_on();
                 }));
    return false;
  }
  return true;
}

void NodeImpl::Revise(wire::DesiredModel record, std::vector<wire::AdapterRef> adapters) {
  const wire::DesiredModel before = record;
  const Shape shape = ShapeOfSettings(record.model);
  const bool context_was_set = (record.named & wire::kContextOfSettings) != 0;
  if ((record.named & wire::kNamedContext) == 0 && (shape.context > 0 || context_was_set)) {
    record.context = shape.context;
    record.named &= ~wire::kContextOfSettings;
    if (shape.context > 0) record.named |= wire::kContextOfSettings;
  }
  if ((record.named & wire::kNamedKv) == 0) record.kv_type = shape.kv_type;
  if ((record.named & wire::kNamedCodec) == 0) record.codec = shape.codec;
  if ((record.named & wire::kNamedKeep) == 0) record.keep_ms = options_.keep_ms;
  if (!SameAdapters(record.adapters, adapters)) record.adapters = std::move(adapters);
  if (record == before) return;
  const auto describe = [](const wire::DesiredModel& one) {
    const std::string context = one.context > 0 ? fmt::format("{}", one.context) : "as trained";
    return fmt::format("context {}, KV cache {}, {}", context, wire::kKvNames[one.kv_type],
                       NamesOf(one.adapters));
  };
  const auto file = models_->Find(record.model);
  if (describe(record) != describe(before)) {
    LOG(kWarning, "{} follows the settings of now: {}; before: {}",
        file == nullptr ? record.model.Short() : models_->NameOf(file), describe(record),
        describe(before));
  }
  Feed(cluster::ReviseModel{std::move(record)});
}

}  // namespace exo::node
