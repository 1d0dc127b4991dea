// What the edges of a node ask about who takes part: inviting, joining, forgetting, and the list of
// devices that are trusted. A part of node/api.h.
//
// Thread: loop; callbacks too.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "wire/messages.h"

namespace exo::node {

struct InviteView {
  std::string code;                // six digits
  unsigned code_seconds = 0;       // that it is good for
  std::vector<std::string> links;  // the same for a device that does not find this one
  unsigned link_seconds = 0;
  bool guest = false;
};

struct JoinRequest {
  std::string code;  // six digits or an invite link; empty: only ask
  std::string at;    // HOST:PORT of the inviting device; empty: look for it
};
struct JoinView {
  NodeId id;         // of the inviting device
  std::string name;  // its name
  bool guest = false;
};

// A key that this node has an opinion about, or that asked to be let in.
struct TrustedView {
  NodeId id;
  std::string name;
  std::string state;  // member, guest, pending, forgotten
};

class Pairing {
 public:
  virtual ~Pairing() = default;

  // Opens an invitation, in place of one that is open. Errors: kInvalid (this node is a guest).
  virtual Result<InviteView> Invite(bool guest) = 0;
  // Becomes a part of another cluster, and leaves this one; done when that is on disk. Errors:
  // kInvalid (code mistyped or wrong), kNotFound (no device invites), kDisconnected, kOverloaded
  // (it is being done already), kCancelled (asked: to be approved there).
  virtual void Join(JoinRequest request, std::function<void(Result<JoinView>)> done) = 0;
  // Lets a device in that asked without a code. `device`: the first digits of its id, 8 at least.
  // Errors: kNotFound, kInvalid (several fit, this node is a guest).
  virtual void Approve(std::string device, bool guest,
                       std::function<void(Result<TrustedView>)> done) = 0;
  // Never trusts a device again, on all members, and cuts it off; done when that is on disk here.
  // `device`: its name or the first digits of its id. Errors: kNotFound, kInvalid (several fit,
  // this node itself, this node is a guest).
  virtual void Forget(std::string device, std::function<void(Result<TrustedView>)> done) = 0;
  // Replaces the secret on all members that are here; the others learn it when they come. Errors:
  // kIo; kInvalid (this node is a guest).
  virtual void RotateSecret(std::function<void(Result<void>)> done) = 0;
  // Gives this device a new key, which it has from its next start on: the members that are here
  // trust it from now on, and the former one is forgotten at that start. Done with what the device
  // will be known as. Errors: kInvalid (this node is a guest, or waits for that start already),
  // kDisconnected (no other member is here to be told), kIo.
  virtual void RotateKey(std::function<void(Result<TrustedView>)> done) = 0;
  virtual std::vector<TrustedView> Trusted() const = 0;
  // In text form. Errors: kNotFound: a guest has none.
  virtual Result<std::string> Secret() const = 0;
};

}  // namespace exo::node
