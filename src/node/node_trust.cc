// Who takes part: what a change of trust means for sessions, plans and discovery; inviting, joining
// and forgetting.
#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "net/interfaces.h"
#include "net/invitation.h"
#include "node/node_impl.h"

namespace exo::node {
namespace {

using wire::TrustEntry;
using wire::TrustRole;

// So few digits name a device by chance only.
constexpr size_t kIdDigits = 8;

// In the state file: the id of the key that this device had before, until it is forgotten.
constexpr const char* kFormerKey = "former_key";

TrustedView ViewOfTrust(const TrustEntry& entry) {
  constexpr const char* kStates[] = {"member", "guest", "forgotten"};
  return {.id = entry.id, .name = entry.name, .state = kStates[static_cast<size_t>(entry.role)]};
}

// By its name, or the first digits of its id.
Result<TrustEntry> FindDevice(const std::vector<TrustEntry>& devices, const std::string& wanted) {
  std::vector<TrustEntry> found;
  for (const TrustEntry& one : devices) {
    const bool by_id = wanted.size() >= kIdDigits && one.id.Hex().starts_with(wanted);
    if (by_id || (!wanted.empty() && one.name == wanted)) found.push_back(one);
  }
  // A device that was paired anew has the name of its former key.
  const auto is_forgotten = [](const TrustEntry& one) {
    return one.role == wire::TrustRole::kForgotten;
  };
  if (!std::ranges::all_of(found, is_forgotten)) std::erase_if(found, is_forgotten);
  if (found.size() == 1) return found[0];
  if (found.empty()) {
    std::vector<std::string> names;
    for (const TrustEntry& one : devices) names.push_back(one.name);
    const std::string near = Nearest(wanted, names);
    return Fail(ErrorCode::kNotFound,
                "there is no device '{}'{}: exo devices shows names and ids (give the first {} "
                "digits of an id, or more)",
                wanted, near.empty() ? "" : fmt::format("; did you mean '{}'?", near), kIdDigits);
  }
  std::string ids;
  for (const TrustEntry& one : found) ids += " " + one.id.Hex().substr(0, 16);
  return Fail(ErrorCode::kInvalid, "several devices are called '{}': name one of them by its id:{}",
              wanted, ids);
}

}  // namespace

void NodeImpl::OnTrustChanged(const cluster::Trust::Change& change) {
  for (const TrustEntry& entry : change.admitted) {
    if (entry.id == identity_->id()) continue;
    audit_->Add({.event = "trusted",
                 .device = entry.id,
                 .name = entry.name,
                 .detail = entry.role == TrustRole::kGuest ? "as a guest" : ""});
  }
  for (const TrustEntry& entry : change.forgotten)
    audit_->Add({.event = "forgotten", .device = entry.id, .name = entry.name});
  for (const NodeId& id : change.lost) {
    const bool forgotten = trust_->IsRevoked(id);
    Feed(cluster::PeerForgotten{
        id, forgotten ? "it was forgotten" : "it does not belong to this cluster any more"});
    peers_->Revoke(id);
    bulk_.Cut(id);
  }
  if (change.secret) {
    audit_->Add({.event = "secret replaced", .device = trust_->trust().epoch().node});
    peers_->SetSecret(trust_->secret());
    discovery_.reset();
    StartDiscovery();
  }
  FeedGuests();
  if (std::exchange(trust_posted_, true)) return;
  OnLoop([this] {
    trust_posted_ = false;
    SpreadTrust();
  })();
}

void NodeImpl::SpreadTrust() {
  for (const NodeId& peer : peers_->Up()) peers_->Send(peer, trust_->trust().UpdateFor(peer));
}

void NodeImpl::FeedGuests() {
  cluster::Guests guests;
  for (const TrustEntry& entry : trust_->trust().entries()) {
    if (entry.role == TrustRole::kGuest) guests.nodes.push_back(entry.id);
  }
  Feed(std::move(guests));
}

// A guest has no say in who takes part, and asks nothing: it would see text.
Result<void> NodeImpl::CheckIsMember() const {
  if (!trust_->trust().IsGuest(identity_->id())) return {};
  return Fail(ErrorCode::kInvalid,
              "this device is a guest of its cluster: do that on one of the members");
}

Result<InviteView> NodeImpl::Invite(bool guest) {
  TRY(CheckIsMember());
  const Inviter::Shown shown =
      inviter_->Open(guest ? TrustRole::kGuest : TrustRole::kMember, [this] {
        if (discovery_) discovery_->SetInviting(false);
      });
  if (discovery_) discovery_->SetInviting(true);
  InviteView view{.code = shown.code,
                  .code_seconds = net::Invitation::kCodeTime / std::chrono::seconds(1),
                  .link_seconds = net::Invitation::kLinkTime / std::chrono::seconds(1),
                  .guest = guest};
  for (const net::Interface& one : net::ListInterfaces()) {
    const std::string host = net::ToAddress(one.address).host;
    if (one.loopback != options_.loopback || host.contains('%')) continue;
    view.links.push_back(
        net::InviteLinkText({.address = {host, peers_->port()}, .secret = shown.link}));
  }
  return view;
}

void NodeImpl::Join(JoinRequest request, std::function<void(Result<JoinView>)> done) {
  if (joining_)
    return done(Fail(ErrorCode::kOverloaded, "this device is joining a cluster already"));
  joining_ = std::make_unique<Joining>(
      loop_, jobs_, identity_, record_.name, [this, done](Result<Joining::Found> found) {
        const auto over = std::move(joining_);
        asked_ = over->asked();
        if (!found) return done(std::unexpected(found.error()));
        JoinView view = found->inviter;
        trust_->Join(found->grant, [done, view, this](Result<void> saved) mutable {
          view.guest = trust_->trust().IsGuest(identity_->id());
          if (!saved) return done(std::unexpected(saved.error()));
          done(view);
        });
        audit_->Add({.event = "joined a cluster", .device = view.id, .name = view.name});
        peers_->AddHint(view.id, {found->address});
      });
  if (const auto begun = joining_->Begin(request, asked_); !begun) {
    joining_.reset();
    return done(std::unexpected(begun.error()));
  }
  if (!joining_->searches()) return;
  if (discovery_ == nullptr) {
    joining_.reset();
    return done(Fail(ErrorCode::kInvalid,
                     "discovery is off: name the address of the inviting device, --at HOST:PORT"));
  }
  for (const wire::Address& address : discovery_->ForeignAddresses()) joining_->OnFound(address);
  discovery_->Refresh();
}

void NodeImpl::Approve(std::string device, bool guest,
                       std::function<void(Result<TrustedView>)> done) {
  const auto approve = [&]() -> Result<TrustEntry> {
    TRY(CheckIsMember());
    TrustEntry entry = TRY(FindDevice(inviter_->Pending(), device));
    if (!entry.id.Hex().starts_with(device)) {
      return Fail(ErrorCode::kInvalid,
                  "name the device by the digits that it shows itself, not by a name that anybody "
                  "can have: {}",
                  entry.id.Hex().substr(0, 16));
    }
    entry.role = guest ? TrustRole::kGuest : TrustRole::kMember;
    TRY(trust_->Admit(entry));
    return entry;
  };
  const auto entry = approve();
  if (!entry) return done(std::unexpected(entry.error()));
  inviter_->DropPending(entry->id);
  audit_->Add({.event = "approved",
               .device = entry->id,
               .name = entry->name,
               .detail = guest ? "as a guest" : ""});
  done(ViewOfTrust(*entry));
}

void NodeImpl::Forget(std::string device, std::function<void(Result<TrustedView>)> done) {
  const auto find = [&]() -> Result<TrustEntry> {
    TRY(CheckIsMember());
    std::vector<TrustEntry> known = trust_->trust().entries();
    for (TrustEntry& entry : known) {  // a device may have been renamed
      if (NameOf(entry.id) != entry.id.Short()) entry.name = NameOf(entry.id);
    }
    for (const TrustEntry& pending : inviter_->Pending()) known.push_back(pending);
    return FindDevice(known, device);
  };
  auto entry = find();
  if (!entry) return done(std::unexpected(entry.error()));
  inviter_->DropPending(entry->id);
  entry->role = TrustRole::kForgotten;
  trust_->Forget(entry->id, [done, view = ViewOfTrust(*entry)](Result<void> saved) {
    if (!saved) return done(std::unexpected(saved.error()));
    done(view);
  });
}

void NodeImpl::RotateSecret(std::function<void(Result<void>)> done) {
  if (auto may = CheckIsMember(); !may) return done(std::move(may));
  trust_->Rotate(std::move(done));
}

bool NodeImpl::HasForgottenThis(const NodeId& member) const {
  return std::ranges::any_of(core_->Nodes(), [&](const cluster::NodeStatus& status) {
    return status.record.id == member && status.state == cluster::PeerState::kRefused &&
           status.refusal == wire::RefusalCode::kNotMember;
  });
}

Result<void> NodeImpl::CheckIsHeard() const {
  const std::vector<NodeId> up = peers_->Up();
  bool others = false;
  for (const TrustEntry& entry : trust_->trust().entries()) {
    if (entry.role != TrustRole::kMember || entry.id == identity_->id()) continue;
    // Where a member has forgotten this device, nobody takes the present key either.
    if (std::ranges::find(up, entry.id) != up.end() || HasForgottenThis(entry.id)) return {};
    others = true;
  }
  if (!others) return {};
  return Fail(ErrorCode::kDisconnected,
              "no other member is here, so that none would know the new key: start exo on one of "
              "them first");
}

void NodeImpl::RotateKey(std::function<void(Result<TrustedView>)> done) {
  if (auto may = CheckIsMember(); !may) return done(std::unexpected(may.error()));
  if (auto heard = CheckIsHeard(); !heard) return done(std::unexpected(heard.error()));
  if (std::exchange(key_rotated_, true)) {
    return done(Fail(ErrorCode::kInvalid,
                     "this device has a new key already: it takes part by it when exo is started "
                     "again"));
  }
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [folder = options_.data_folder](const std::atomic<bool>&) {
        return net::Identity::MakeNext(folder);
      },
      [this, done](const Result<NodeId>& next) {
        if (next) return TakeNextKey(*next, done);
        key_rotated_ = false;
        done(std::unexpected(next.error()));
      });
  if (begun) return;
  key_rotated_ = false;
  done(Fail(ErrorCode::kOverloaded, "too many files are busy: try again"));
}

// First it is trusted, then it is taken: after a crash in between this device still has a key that
// is.
void NodeImpl::TakeNextKey(const NodeId& next, std::function<void(Result<TrustedView>)> done) {
  const TrustEntry entry{.id = next, .name = record_.name};
  const auto taken = [this, entry, done](const Result<void>& result) {
    key_rotated_ = result.has_value();
    if (!result) return done(std::unexpected(result.error()));
    audit_->Add({.event = "key replaced",
                 .device = entry.id,
                 .name = entry.name,
                 .detail = "of this device, from its next start on"});
    done(ViewOfTrust(entry));
  };
  if (auto admitted = trust_->Admit(entry); !admitted) return taken(admitted);
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [state = state_, folder = options_.data_folder,
       former = identity_->id()](const std::atomic<bool>&) -> Result<void> {
        TRY(state->Set(kFormerKey, former.Hex()));
        return net::Identity::TakeNext(folder);
      },
      taken);
  if (!begun) taken(Fail(ErrorCode::kOverloaded, "too many files are busy: try again"));
}

void NodeImpl::ForgetFormerKey() {
  const auto former = NodeId::FromHex(state_->Get(kFormerKey).value_or(""));
  if (!former || *former == identity_->id()) return;
  trust_->Forget(*former, [this](const Result<void>& saved) {
    if (!saved) {
      LOG(kError, "the former key is not forgotten: {}", saved.error().message);
      return;
    }
    (void)jobs_.Run(
        Jobs::Class::kIo, {},
        [state = state_](const std::atomic<bool>&) { return state->Set(kFormerKey, ""); },
        [](const Result<void>&) {});  // else it is forgotten once more at the next start
  });
}

std::vector<TrustedView> NodeImpl::Trusted() const {
  std::vector<TrustedView> views;
  for (const TrustEntry& entry : trust_->trust().entries()) views.push_back(ViewOfTrust(entry));
  for (const TrustEntry& entry : inviter_->Pending()) {
    views.push_back(ViewOfTrust(entry));
    views.back().state = "pending";
  }
  return views;
}

Result<std::string> NodeImpl::Secret() const {
  if (trust_->secret() != nullptr) return trust_->secret()->Text();
  return Fail(ErrorCode::kNotFound, "this device is a guest of its cluster and has no secret");
}

}  // namespace exo::node
