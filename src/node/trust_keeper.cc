#include "node/trust_keeper.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "sys/system.h"

namespace exo::node {
namespace {

// Fingerprint of the given secret that the one in the data folder has replaced.
constexpr const char* kReplacedSetting = "replaced_secret";

uint64_t NowMilliseconds() {
  return static_cast<uint64_t>(std::max<int64_t>(sys::WallClockSeconds(), 0)) * 1000;
}

std::vector<uint8_t> DrawSecret() {
  const auto secret = net::ClusterSecret::Create();
  return {secret->bytes().begin(), secret->bytes().end()};
}

}  // namespace

// What is written, in this order: after a crash in between, the secret in the file is the former
// one of the state file.
struct TrustKeeper::Image {
  store::StoredTrust trust;
  std::string folder;
  std::string secret;    // text to write into the folder; empty: it is there, or given
  std::string replaced;  // fingerprint of the given secret; empty: none
};

Result<std::unique_ptr<TrustKeeper>> TrustKeeper::Load(std::shared_ptr<store::State> state,
                                                       Jobs& jobs, Options options) {
  std::unique_ptr<TrustKeeper> keeper(new TrustKeeper(std::move(state), jobs, std::move(options)));
  TRY(keeper->Read());
  return keeper;
}

Result<void> TrustKeeper::Read() {
  store::StoredTrust stored = TRY(state_->Trust());
  std::unique_ptr<net::ClusterSecret> given;
  if (!options_.given_secret.empty()) given = TRY(net::ClusterSecret::Parse(options_.given_secret));
  const auto replaced = TRY(state_->Find(kReplacedSetting));
  if (given != nullptr && replaced != given->Fingerprint()) {
    secret_ = std::move(given);
  } else {
    secret_ = TRY(net::ClusterSecret::LoadOrCreate(options_.folder));
  }
  const std::string fingerprint = secret_->Fingerprint();
  if (!stored.secret.empty() && stored.secret != fingerprint) {
    if (stored.former == fingerprint) {
      stored.record.epoch = {};  // the secret of the epoch was not written: it will be learned
    } else {
      stored.record = {};
    }
  }
  const bool guest = std::ranges::any_of(stored.record.entries, [&](const wire::TrustEntry& entry) {
    return entry.id == options_.self.id && entry.role == wire::TrustRole::kGuest;
  });
  if (guest) secret_ = nullptr;
  if (!guest) stored.record.secret.assign(secret_->bytes().begin(), secret_->bytes().end());
  trust_.Restore(std::move(stored.record));
  former_ = fingerprint;
  return Admit(options_.self);
}

void TrustKeeper::Admit(const NodeId& id, std::string_view name) {
  if (auto admitted = Admit(wire::TrustEntry{.id = id, .name = std::string(name)}); !admitted)
    LOG(kError, "peer={}: it will be asked again: {}", id.Short(), admitted.error().message);
}

Result<void> TrustKeeper::Admit(wire::TrustEntry entry) {
  const cluster::Trust::Change change = TRY(trust_.Admit(std::move(entry)));
  Took(change);
  if (change.demoted) Rotate(nullptr);
  return {};
}

void TrustKeeper::Forget(const NodeId& id, Saved saved) {
  auto change = trust_.Forget(id, DrawSecret(), NowMilliseconds());
  if (!change) return saved(std::unexpected(change.error()));
  Took(*change, std::move(saved));
}

void TrustKeeper::Rotate(Saved saved) {
  Took(trust_.Rotate(DrawSecret(), NowMilliseconds()), std::move(saved));
}

void TrustKeeper::Merge(const wire::TrustUpdate& update) {
  const cluster::Trust::Change change = trust_.Merge(update);
  Took(change);
  if (change.stale_secret) Rotate(nullptr);
}

void TrustKeeper::Join(const wire::TrustUpdate& grant, Saved saved) {
  Took(trust_.Join(grant), std::move(saved));
}

void TrustKeeper::Took(const cluster::Trust::Change& change, Saved saved) {
  if (saved) waiting_.push_back(std::move(saved));
  if (change.secret) {
    if (secret_ != nullptr) former_ = secret_->Fingerprint();
    secret_ = nullptr;
    if (!trust_.secret().empty()) secret_ = net::ClusterSecret::FromBytes(trust_.secret()).value();
    secret_is_new_ = true;
  }
  if (change.any || !waiting_.empty()) {
    unsaved_ = true;
    Save();
  }
  if (change.any && changed_) changed_(change);
}

TrustKeeper::Image TrustKeeper::Current() const {
  Image image{.trust = {.record = trust_.UpdateFor({}), .former = former_},
              .folder = options_.folder};
  image.trust.record.secret.clear();
  // A guest goes by the secret that its file has, unused.
  image.trust.secret = secret_ != nullptr ? secret_->Fingerprint() : former_;
  if (secret_ == nullptr || !secret_is_new_) return image;
  image.secret = secret_->Text();
  if (!options_.given_secret.empty())
    image.replaced = net::ClusterSecret::Parse(options_.given_secret).value()->Fingerprint();
  return image;
}

Result<void> TrustKeeper::Write(store::State& state, const Image& image) {
  TRY(state.SaveTrust(image.trust));
  if (!image.secret.empty()) TRY(net::ClusterSecret::Replace(image.folder, image.secret));
  if (!image.replaced.empty()) TRY(state.Set(kReplacedSetting, image.replaced));
  return {};
}

// Not on the loop: the state file is synced to disk. One write at a time, of the newest state.
void TrustKeeper::Save() {
  if (!unsaved_ || saving_) return;
  unsaved_ = false;
  const auto write = [state = state_, image = Current()](const std::atomic<bool>&) {
    return Write(*state, image);
  };
  saving_ = jobs_.Run(Jobs::Class::kIo, {}, write, [this](const Result<void>& saved) {
    saving_ = false;
    if (!saved)
      LOG(kError, "whom this device trusts was not written down: {}", saved.error().message);
    for (const Saved& done : std::exchange(writing_, {})) done(saved);
    Save();
  });
  if (saving_) {
    writing_ = std::exchange(waiting_, {});
    return;
  }
  unsaved_ = true;
  LOG(kError, "whom this device trusts was not written down yet: files are busy");
}

void TrustKeeper::Flush() {
  if (!unsaved_ && !saving_) return;
  if (auto saved = Write(*state_, Current()); !saved)
    LOG(kError, "whom this device trusts was not written down: {}", saved.error().message);
}

}  // namespace exo::node
