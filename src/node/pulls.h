// Models on their way here: one job for each, however many clients wait for it, and the notes of
// what came of it.
//
// Thread: the loop thread. Owner: the node, which ends the jobs after this object.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "fetch/pull.h"
#include "net/event_loop.h"
#include "node/api.h"
#include "node/download_space.h"
#include "node/jobs.h"
#include "node/pull_peers.h"
#include "node/pulled_notes.h"
#include "store/manifest.h"
#include "store/state.h"

namespace exo::node {

struct PullsOptions {
  fetch::Sources sources;
  uint64_t space = 0;  // bytes on disk that downloads may take; 0: any number
  // Why a model here may not make room for another: "is loaded"; empty: it may.
  std::function<std::string(const std::string& name)> stays;
  // Models have made room.
  std::function<void()> removed;
  // Makes a model of a file in the folder of models known; done with its name.
  std::function<void(std::string path, std::function<void(Result<std::string>)> done)> adopt;
  // A sentence about a model that is about to be downloaded.
  std::function<std::string(const store::Manifest&, const fetch::RemoteModel&)> describe;
  // `announced`: the others have heard that this device downloads it, too.
  std::function<Elsewhere(const Hash256& content, bool announced)> find_elsewhere;
  // Does another member wait for what this device downloads? Then it goes on without a watcher.
  std::function<bool(const Hash256& content)> is_awaited;
  // What is on its way here or awaited has changed, or what the models here are known to be.
  std::function<void()> announce;
};

class Pulls {
 public:
  Pulls(net::EventLoop& loop, Jobs& jobs, std::shared_ptr<store::State> state,
        PullsOptions options);
  ~Pulls();  // what runs is stopped; nobody hears of it

  std::unique_ptr<Pulling> Start(const std::string& model, PullWatcher& watcher);
  // Those that run, and the last ones that have failed.
  std::vector<PullView> List() const;
  // The name here of a model that was pulled as `asked`, however that is written; empty: none was.
  std::string NameOf(const std::string& asked) const;
  // Of a model by its name here; zero: unknown.
  Hash256 ContentOf(const std::string& name) const;
  // What is on its way here.
  std::vector<Hash256> Downloads() const;
  // What another member is to bring.
  std::vector<Hash256> Awaited() const;
  // Of the models here that were pulled.
  std::vector<std::string> Names() const { return notes_.Names(); }
  bool WasPulled(const std::string& name) const { return notes_.FindByName(name) != nullptr; }
  // It was loaded or unloaded: others make room before it.
  void NoteUse(const std::string& name);
  // Deletes a pulled model by its name here. Errors: kNotFound, kIo, kOverloaded.
  void Remove(const std::string& name, std::function<void(Result<fetch::Forgotten>)> done);
  // Every pull ends with kCancelled: the node stops.
  void Cancel();

 private:
  struct Board;
  struct Running;
  class Waiter;

  std::unique_ptr<Pulling> Refuse(PullWatcher& watcher, Error error);
  struct Resolved {
    fetch::RemoteModel model;
    std::shared_ptr<const store::Manifest> manifest;  // its heads; null: not known
  };
  static Result<Resolved> Resolve(const fetch::Sources& sources, const fetch::Reference& reference,
                                  const std::atomic<bool>& cancel);
  // Each byte comes into the house once: what another device has or downloads is not downloaded.
  void Begin(const std::shared_ptr<Running>& running, const fetch::RemoteModel& model);
  // Where what is considered comes from.
  enum class From : uint8_t { kUnsettled, kInternet, kMember };
  void Settle(Running& running, From from);
  std::vector<Hash256> ContentsFrom(From from) const;
  void Consider(const std::shared_ptr<Running>& running);
  void NoteElsewhere(const Running& running, const std::string& name);
  // Where what is to come may have to find room: one pull at a time looks for it.
  void Fetch(const std::shared_ptr<Running>& running, const fetch::RemoteModel& model);
  RoomRequest RoomFor(const Running& running, const fetch::RemoteModel& model) const;
  void FindRoom(const std::shared_ptr<Running>& running);
  void OnRoom(const std::shared_ptr<Running>& running, const fetch::RemoteModel& model,
              const std::vector<StoredDownload>& gone);
  void Download(const std::shared_ptr<Running>& running, const fetch::RemoteModel& model);
  void Adopt(const std::shared_ptr<Running>& running, const fetch::PulledFile& file);
  void NoteFailure(const std::string& model, const PullProgress& last, const Error& error);
  void Withdraw(const std::shared_ptr<Running>& running, const fetch::PulledFile& file,
                const Error& error);
  void Finish(const std::shared_ptr<Running>& running, const Result<std::string>& name);
  static void Tell(Running& running);  // its watchers, if there is news
  void OnTick();
  void SaveNotes(std::function<void(Result<void>)> done);

  net::EventLoop& loop_;
  Jobs& jobs_;
  const std::shared_ptr<store::State> state_;
  const PullsOptions options_;
  PulledNotes notes_;
  std::map<std::string, std::shared_ptr<Running>> running_;  // by the reference's text
  struct Failed {
    PullView view;
    Time at;
  };
  std::deque<Failed> failed_;  // oldest first
  net::Timer tick_;
  bool finding_room_ = false;
  // Callbacks that come after this object see the flag and do nothing.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace exo::node
