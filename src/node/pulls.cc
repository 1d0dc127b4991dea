#include "node/pulls.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "base/units.h"
#include "fetch/broken_off.h"
#include "node/pull_preview.h"
#include "sys/system.h"
#include "wire/limits.h"

namespace exo::node {
namespace {

constexpr const char* kNotes = "pulled";
constexpr const char* kJobKey = "pull";  // of the jobs: how many run at once
constexpr Time kPullTick = std::chrono::milliseconds(200);
constexpr size_t kMaxPulls = 32;  // at once, running or waiting
static_assert(kMaxPulls <= wire::kMaxDownloads);
// For how long a failed pull is shown, and how many of them.
constexpr Time kShowFailed = std::chrono::minutes(10);
constexpr size_t kMaxFailed = 8;
// Ticks between the announcement of a download and its first byte: another device may have begun
// the same in the same moment.
constexpr int kSettle = 2;

PullProgress ProgressOf(const fetch::RemoteFile& file, const fetch::Progress& now) {
  return {.step = now.verifying ? PullProgress::Step::kVerifying : PullProgress::Step::kFile,
          .file = file.name,
          .sha256 = file.sha256,
          .completed = now.completed,
          .total = now.total,
          .bytes_per_second = now.bytes_per_second,
          .seconds_left = now.seconds_left,
          .silent_seconds = now.silent_seconds};
}

}  // namespace

// What a job and the loop share: the job may outlive the node.
struct Pulls::Board {
  std::atomic<bool> cancel = false;

  Mutex mutex;
  PullProgress progress EXO_GUARDED_BY(mutex);

  void Write(PullProgress now) {
    const MutexLock lock(mutex);
    progress = std::move(now);
  }
  PullProgress Read() {
    const MutexLock lock(mutex);
    return progress;
  }
};

struct Pulls::Running {
  fetch::Reference reference;
  std::shared_ptr<Board> board = std::make_shared<Board>();
  PullProgress told;
  std::vector<Waiter*> waiters;
  // While it is not settled who downloads it.
  std::optional<fetch::RemoteModel> considered = std::nullopt;
  Hash256 content = {};
  From from = From::kUnsettled;  // announced; also while it is downloaded
  int ticks = 0;                 // since then
  // While it waits for room on the disk, and what it has found room for.
  std::optional<fetch::RemoteModel> to_come = std::nullopt;
  uint64_t room = 0;
  std::vector<std::string> parts = {};  // its part files
};

class Pulls::Waiter final : public Pulling {
 public:
  Waiter(std::shared_ptr<Running> running, PullWatcher& watcher)
      : running_(std::move(running)), watcher_(watcher) {
    running_->waiters.push_back(this);
  }
  ~Waiter() override { std::erase(running_->waiters, this); }  // the next tick looks who is left
  PullWatcher& watcher() { return watcher_; }

 private:
  const std::shared_ptr<Running> running_;
  PullWatcher& watcher_;
};

Pulls::Pulls(net::EventLoop& loop, Jobs& jobs, std::shared_ptr<store::State> state,
             PullsOptions options)
    : loop_(loop),
      jobs_(jobs),
      state_(std::move(state)),
      options_(std::move(options)),
      tick_(loop) {
  (void)jobs_.Run(
      Jobs::Class::kIo, {},
      [sources = options_.sources](const std::atomic<bool>&) {
        fetch::RemoveOldBrokenOff(sources, sys::WallClockSeconds());
        return true;
      },
      [](bool) {});
  const auto text = state_->Get(kNotes);
  if (!text) return;
  auto notes = PulledNotes::Parse(*text);
  if (notes) {
    notes_ = *std::move(notes);
  } else {
    LOG(kError, "the list of pulled models is damaged and is begun anew: {}",
        notes.error().message);
  }
}

Pulls::~Pulls() {
  Cancel();
  *alive_ = false;
}

void Pulls::Cancel() {
  for (const auto& [unused, running] : running_) running->board->cancel = true;
}

std::unique_ptr<Pulling> Pulls::Refuse(PullWatcher& watcher, Error error) {
  const auto running = std::make_shared<Running>();
  loop_.Post([this, alive = alive_, running, error = std::move(error)] {
    if (*alive) Finish(running, std::unexpected(error));
  });
  return std::make_unique<Waiter>(running, watcher);
}

std::unique_ptr<Pulling> Pulls::Start(const std::string& model, PullWatcher& watcher) {
  const auto reference = fetch::ParseReference(model);
  if (!reference) return Refuse(watcher, reference.error());
  const std::string key = reference->Text();
  if (const auto found = running_.find(key); found != running_.end()) {
    if (!found->second->board->cancel) return std::make_unique<Waiter>(found->second, watcher);
    return Refuse(watcher, {ErrorCode::kOverloaded,
                            fmt::format("an earlier pull of {} is just stopping: try again", key)});
  }
  if (running_.size() >= kMaxPulls) {
    return Refuse(watcher, {ErrorCode::kOverloaded,
                            fmt::format("{} models are being pulled: wait for one", kMaxPulls)});
  }
  const auto running = std::make_shared<Running>();
  running->reference = *reference;
  const bool begun = jobs_.Run(
      Jobs::Class::kNet, kJobKey,
      [sources = options_.sources, reference = *reference, board = running->board](
          const std::atomic<bool>&) { return Resolve(sources, reference, board->cancel); },
      [this, alive = alive_, running](const Result<Resolved>& resolved) {
        if (!*alive) return;
        if (!resolved) return Finish(running, std::unexpected(resolved.error()));
        if (resolved->manifest != nullptr) {
          running->board->Write({.note = options_.describe(*resolved->manifest, resolved->model)});
          Tell(*running);
        }
        Begin(running, resolved->model);
      });
  if (!begun)
    return Refuse(watcher, {ErrorCode::kOverloaded, "too much is being asked of the network"});
  running_[key] = running;
  if (!tick_.running()) tick_.Start(kPullTick, [this] { OnTick(); });
  return std::make_unique<Waiter>(running, watcher);
}

Result<Pulls::Resolved> Pulls::Resolve(const fetch::Sources& sources,
                                       const fetch::Reference& reference,
                                       const std::atomic<bool>& cancel) {
  Resolved resolved{.model = TRY(fetch::Resolve(sources, reference, &cancel)), .manifest = nullptr};
  resolved.manifest = TRY(ReadRemoteHeads(sources.web, resolved.model, cancel));
  return resolved;
}

void Pulls::Begin(const std::shared_ptr<Running>& running, const fetch::RemoteModel& model) {
  running->content = model.content();
  if (model.here() || running->content.IsZero()) return Fetch(running, model);
  running->considered = model;
  Consider(running);
}

void Pulls::Settle(Running& running, From from) {
  if (running.from == from) return;
  running.from = from;
  running.ticks = 0;
  options_.announce();
}

void Pulls::Consider(const std::shared_ptr<Running>& running) {
  if (running->board->cancel) return Finish(running, Fail(ErrorCode::kCancelled, "stopped"));
  const Elsewhere elsewhere =
      options_.find_elsewhere(running->content, running->from == From::kInternet);
  using Where = Elsewhere::Where;
  const bool waits = elsewhere.where == Where::kComing;
  if (elsewhere.where == Where::kThere || waits) {
    Settle(*running, waits ? From::kMember : From::kUnsettled);
    PullProgress now = running->board->Read();
    now.note = fmt::format("{} {} it", elsewhere.device, waits ? "is downloading" : "has");
    running->board->Write(std::move(now));
    if (!waits) {
      NoteElsewhere(*running, elsewhere.name);
      Finish(running, elsewhere.name);
    }
    return;
  }
  Settle(*running, From::kInternet);
  if (elsewhere.where == Where::kNowhere && running->ticks++ < kSettle) return;
  Fetch(running, *std::exchange(running->considered, std::nullopt));
}

// It answers here, too, to the name that it was pulled by.
void Pulls::NoteElsewhere(const Running& running, const std::string& name) {
  if (notes_.FindByName(name) != nullptr) return;
  notes_.Put(running.reference.Text(), name, {}, sys::WallClockSeconds());
  SaveNotes([name](const Result<void>& saved) {
    if (!saved) LOG(kWarning, "the other name of {} is forgotten: {}", name, saved.error().message);
  });
}

Hash256 Pulls::ContentOf(const std::string& name) const {
  const PulledNote* note = notes_.FindByName(name);
  return note == nullptr ? Hash256{} : note->file.content;
}

std::vector<Hash256> Pulls::Downloads() const {
  return ContentsFrom(From::kInternet);
}

std::vector<Hash256> Pulls::Awaited() const {
  return ContentsFrom(From::kMember);
}

std::vector<Hash256> Pulls::ContentsFrom(From from) const {
  std::vector<Hash256> contents;
  for (const auto& [unused, running] : running_)
    if (running->from == from) contents.push_back(running->content);
  return contents;
}

void Pulls::Fetch(const std::shared_ptr<Running>& running, const fetch::RemoteModel& model) {
  if (model.here()) return Download(running, model);
  for (const fetch::RemoteFile& file : model.files) running->parts.push_back(file.path + ".part");
  running->to_come = model;
  if (!finding_room_) FindRoom(running);
}

RoomRequest Pulls::RoomFor(const Running& running, const fetch::RemoteModel& model) const {
  RoomRequest request{.name = model.name, .limit = options_.space};
  for (const fetch::RemoteFile& file : model.files) request.needed += file.here ? 0 : file.bytes;
  for (const auto& [unused, other] : running_) {
    request.coming += other->room;
    request.running.insert(request.running.end(), other->parts.begin(), other->parts.end());
  }
  for (const PulledNote& note : notes_.all()) {
    const bool comes_anew = NameOf(running.reference.Text()) == note.name;
    request.stored.push_back({.name = note.name,
                              .file = note.file,
                              .used = note.used,
                              .stays = comes_anew ? "is pulled again" : options_.stays(note.name)});
  }
  return request;
}

void Pulls::FindRoom(const std::shared_ptr<Running>& running) {
  const fetch::RemoteModel model = *std::exchange(running->to_come, std::nullopt);
  const RoomRequest request = RoomFor(*running, model);
  finding_room_ = jobs_.Run(
      Jobs::Class::kIo, {},
      [sources = options_.sources, request](const std::atomic<bool>&) {
        return MakeRoom(sources, request);
      },
      [this, alive = alive_, running, model,
       needed = request.needed](const Result<std::vector<StoredDownload>>& gone) {
        if (!*alive) return;
        finding_room_ = false;
        if (!gone) return Finish(running, std::unexpected(gone.error()));
        running->room = needed;
        OnRoom(running, model, *gone);
      });
  if (!finding_room_) Finish(running, Fail(ErrorCode::kOverloaded, "too many files are busy"));
}

void Pulls::OnRoom(const std::shared_ptr<Running>& running, const fetch::RemoteModel& model,
                   const std::vector<StoredDownload>& gone) {
  std::string said;
  for (const StoredDownload& one : gone) {
    notes_.Remove(one.name);
    said += fmt::format("{}{} ({})", said.empty() ? "" : ", ", one.name, FormatSize(one.bytes));
  }
  if (!gone.empty()) {
    PullProgress now = running->board->Read();
    now.note = fmt::format("deleted to make room: {}", said);
    running->board->Write(std::move(now));
    Tell(*running);
    options_.removed();
    SaveNotes([](const Result<void>& saved) {
      if (!saved) LOG(kWarning, "models that made room: {}", saved.error().message);
    });
  }
  Download(running, model);
}

void Pulls::NoteUse(const std::string& name) {
  if (!notes_.NoteUse(name, sys::WallClockSeconds())) return;
  SaveNotes([](const Result<void>& saved) {
    if (!saved) LOG(kWarning, "when a model was used is forgotten: {}", saved.error().message);
  });
}

void Pulls::Download(const std::shared_ptr<Running>& running, const fetch::RemoteModel& model) {
  const PulledNote* before = notes_.FindByReference(running->reference.Text());
  const auto links = before == nullptr ? std::vector<std::string>() : before->file.links;
  const bool begun = jobs_.Run(
      Jobs::Class::kNet, kJobKey,
      [sources = options_.sources, reference = running->reference, model, links,
       board = running->board](const std::atomic<bool>&) {
        return fetch::Fetch(
            sources, reference, model,
            {.progress = [&](const fetch::RemoteFile& file,
                             const fetch::Progress& now) { board->Write(ProgressOf(file, now)); },
             .cancel = &board->cancel,
             .links = links});
      },
      [this, alive = alive_, running](const Result<fetch::PulledFile>& file) {
        if (!*alive) return;
        if (!file) return Finish(running, std::unexpected(file.error()));
        Adopt(running, *file);
      });
  if (!begun)
    Finish(running, Fail(ErrorCode::kOverloaded, "too much is being asked of the network"));
}

void Pulls::Adopt(const std::shared_ptr<Running>& running, const fetch::PulledFile& file) {
  PullProgress placing = running->board->Read();
  placing.step = PullProgress::Step::kPlacing;
  running->board->Write(std::move(placing));
  options_.adopt(
      file.links[0], [this, alive = alive_, running, file](const Result<std::string>& name) {
        if (!*alive) return;
        if (!name) return Withdraw(running, file, name.error());
        notes_.Put(running->reference.Text(), *name, file, sys::WallClockSeconds());
        SaveNotes([this, running, name](const Result<void>& saved) {
          if (!saved)
            LOG(kWarning, "where {} came from is forgotten: {}", *name, saved.error().message);
          Finish(running, name);
        });
      });
}

// What cannot be run gets no name, but where it has had one before; its files stay where the next
// pull finds them.
void Pulls::Withdraw(const std::shared_ptr<Running>& running, const fetch::PulledFile& file,
                     const Error& error) {
  const PulledNote* before = notes_.FindByReference(running->reference.Text());
  if (before != nullptr && before->file.links == file.links)
    return Finish(running, std::unexpected(error));
  const auto finish = [this, alive = alive_, running, error](const Result<fetch::Forgotten>&) {
    if (*alive) Finish(running, std::unexpected(error));
  };
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [sources = options_.sources, links = file.links](const std::atomic<bool>&) {
        return fetch::Forget(sources, {.links = links});
      },
      finish);
  if (!begun) finish({});
}

void Pulls::Finish(const std::shared_ptr<Running>& running, const Result<std::string>& name) {
  const auto place = running_.find(running->reference.Text());
  if (place != running_.end() && place->second == running) running_.erase(place);
  running->considered.reset();
  running->to_come.reset();
  if (name || running->from != From::kUnsettled) options_.announce();
  if (name) LOG(kInfo, "pulled {} as {}", running->reference.Text(), *name);
  const PullProgress last = running->board->Read();
  if (!name) NoteFailure(running->reference.Text(), last, name.error());
  while (!running->waiters.empty()) {  // each may go when it hears of it, and take others along
    PullWatcher& watcher = running->waiters.back()->watcher();
    running->waiters.pop_back();
    if (name && last != running->told) watcher.OnProgress(last);
    watcher.OnPulled(name);
  }
}

// One that was stopped was stopped by somebody, who knows.
void Pulls::NoteFailure(const std::string& model, const PullProgress& last, const Error& error) {
  std::erase_if(failed_, [&](const Failed& one) { return one.view.model == model; });
  if (error.code == ErrorCode::kCancelled) return;
  if (failed_.size() >= kMaxFailed) failed_.pop_front();
  failed_.push_back({{.model = model, .progress = last, .error = error.message}, sys::Now()});
}

std::vector<PullView> Pulls::List() const {
  std::vector<PullView> list;
  for (const auto& [model, running] : running_)
    list.push_back({.model = model, .progress = running->board->Read()});
  for (const Failed& failed : failed_) {
    const bool runs_again = running_.contains(failed.view.model);
    if (!runs_again && sys::Now() - failed.at < kShowFailed) list.push_back(failed.view);
  }
  return list;
}

void Pulls::Tell(Running& running) {
  const PullProgress now = running.board->Read();
  if (now == running.told) return;
  running.told = now;
  for (Waiter* waiter : std::vector(running.waiters)) waiter->watcher().OnProgress(now);
}

void Pulls::OnTick() {
  for (const auto& [unused, running] : std::map(running_)) {
    const bool wanted = !running->waiters.empty() ||
                        (running->from == From::kInternet && options_.is_awaited(running->content));
    if (!wanted) running->board->cancel = true;
    if (running->considered) Consider(running);
    if (running->to_come && !finding_room_) FindRoom(running);
    Tell(*running);
  }
  if (!running_.empty()) tick_.Start(kPullTick, [this] { OnTick(); });
}

std::string Pulls::NameOf(const std::string& asked) const {
  const auto reference = fetch::ParseReference(asked);
  const PulledNote* note = reference ? notes_.FindByReference(reference->Text()) : nullptr;
  return note == nullptr ? "" : note->name;
}

void Pulls::Remove(const std::string& name, std::function<void(Result<fetch::Forgotten>)> done) {
  const PulledNote* note = notes_.FindByName(name);
  if (note == nullptr)
    return done(Fail(ErrorCode::kNotFound, "no model '{}' was pulled here", name));
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [sources = options_.sources, file = note->file](const std::atomic<bool>&) {
        return fetch::Forget(sources, file);
      },
      [this, alive = alive_, name, done](const Result<fetch::Forgotten>& forgotten) {
        if (!*alive) return;
        // A link that is gone already needs no note either.
        if (!forgotten && forgotten.error().code != ErrorCode::kNotFound) return done(forgotten);
        notes_.Remove(name);
        SaveNotes(
            [done, forgotten = forgotten.value_or(fetch::Forgotten{})](const Result<void>& saved) {
              if (!saved) return done(std::unexpected(saved.error()));
              done(forgotten);
            });
      });
  if (!begun) done(Fail(ErrorCode::kOverloaded, "too much is going on with files"));
}

void Pulls::SaveNotes(std::function<void(Result<void>)> done) {
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [state = state_, text = notes_.Text()](const std::atomic<bool>&) {
        return state->Set(kNotes, text);
      },
      [alive = alive_, done](const Result<void>& saved) {
        if (*alive) done(saved);
      });
  if (!begun) done(Fail(ErrorCode::kOverloaded, "too many files are busy"));
}

}  // namespace exo::node
