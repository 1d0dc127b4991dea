// The models this node knows, and the low-rank adapters: files in its model folders and files that
// the user named. Folders are
// looked through every few seconds and whenever somebody asks for an unknown name, so that files
// come and go without a restart; what is still being written is left alone until it rests.
//
// Everything that touches a disk is a job (node/jobs.h), keyed by folder: a dead network drive
// holds up its own files and nothing else. A model is known as soon as it itself has been read.
//
// Names are unique here: the second file of one base name is called name@folder. The order of the
// folders decides who is first.
//
// Thread: the loop thread; callbacks come there too.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "net/event_loop.h"
#include "node/jobs.h"
#include "node/vocabulary.h"
#include "store/model.h"
#include "sys/system.h"

namespace exo::node {

// How patient the scanner is; tests are less so.
struct ModelTimes {
  Time rescan = std::chrono::seconds(3);
  // A file that was written to less than this ago may still be growing.
  Time settle = std::chrono::seconds(2);
  // A folder or file that gives no sign for so long does not answer.
  Time silence = std::chrono::seconds(20);
  // How long an unknown name waits for the folders to be looked through.
  Time listing = std::chrono::seconds(3);
};

struct ModelsOptions {
  std::vector<std::string> folders;  // in order of precedence
  // Of these, the ones that the user named: one that cannot be listed is worth a warning.
  std::vector<std::string> named_folders;
  std::string prepared_folder;
  const sys::Disk* disk = &sys::RealDisk();  // outlives the program's jobs
  ModelTimes times = {};
  std::function<Time()> now = sys::Now;  // of patience; a test has a clock of its own
};

class Models {
 public:
  using File = std::shared_ptr<const store::ModelFile>;
  using Opened = std::function<void(Result<File>)>;

  // The callbacks of jobs come until `jobs` is stopped: it goes first.
  Models(net::EventLoop& loop, Jobs& jobs, std::shared_ptr<store::State> state,
         const ModelsOptions& options);
  ~Models();

  // Begins to look through the folders; `changed` runs after every change of All().
  void Start(std::function<void()> changed);
  // Looks through everything again now. done: when all have answered, or after times.listing.
  void Rescan(std::function<void()> done = {});

  // Opens one file; it is known by its name until this node stops.
  // Errors: kNotFound, kIo, kInvalid (no usable model: the message says why), kUnsupported.
  void Open(std::string path, Opened done);
  // The same for a model, and it is opened again at every start.
  void Add(std::string path, Opened done);
  // A file that Open brought (a model, a draft, an adapter) is opened again at every start, until
  // it is removed: a model that is loaded with it comes back. `done`: written down, or warned.
  void Remember(const File& file, std::function<void()> done = [] {});
  // Forgets a file that the user named, whether it exists or not; the file itself stays.
  // Errors: kNotFound; kInvalid (it lies in a model folder, which is searched anyway).
  void Remove(std::string name, std::function<void(Result<void>)> done);

  // By name, id in hex, or path, if it has been read. Null when unknown.
  File Find(const std::string& name) const;
  File Find(const ModelId& id) const;
  // The same, after waiting for what the answer depends on: that file's own reading, or one look
  // through the folders for a name that nobody has. Errors: kNotFound, those of Open.
  void Await(const std::string& name, Opened done);
  // Looks at the files of a model again, and waits until those that have changed are read. done:
  // nothing, or why one of them is of no use now.
  void Refresh(const ModelId& id, std::function<void(Result<void>)> done);
  // Each model once, and each low-rank adapter.
  std::vector<File> All() const { return Each(false); }
  std::vector<File> Adapters() const { return Each(true); }
  // Files that were found or named and cannot be used: "PATH: why".
  std::vector<std::string> Broken() const;
  // The name by which a file of All() is known here.
  std::string NameOf(const File& file) const;
  // The names of other files with the same bytes.
  std::vector<std::string> FurtherNamesOf(const File& file) const;

 private:
  // A file that was found or named.
  struct Entry;
  // What a job found at a path.
  struct Found {
    std::string path;
    std::string canonical;
    Result<sys::FileStamp> stamp;  // of all parts together
    bool rests = false;            // has not been written to for a while
  };
  using Listing = Result<std::vector<Found>>;
  using Looked = std::function<void(const Result<Found>&)>;

  std::vector<File> Each(bool adapters) const;
  void ScanFolder(const std::string& folder);
  void ScanPath(const std::string& path, std::function<void(const Found&)> done);
  void LookAt(const std::string& path, Looked done);
  void LoadRegistered();
  void OnListed(const std::string& folder, Listing listing);
  void Merge(const std::string& folder, const Listing& listing);
  void WarnOfFolder(const std::string& folder, const Listing& listing);
  Entry* MergeOne(const std::string& folder, const Found& found, bool at_once);
  bool HasSettled(const Entry& entry, const sys::FileStamp& stamp) const;
  void Settle(Entry& entry, const sys::FileStamp& stamp);
  void EndScan(const std::string& source);
  void RunAfterScan();
  void OnTimer();

  Entry& Claim(const Found& found, const std::string& folder);
  void Read(Entry& entry);
  void OnRead(const std::string& path, const void* reading, Result<File> opened);
  void CheckSilence();
  void Answer(Entry& entry, const Result<File>& result);
  void Drop(const std::string& path);
  void WaitFor(Entry& entry, Opened done);
  Entry* FindEntry(const std::string& name) const;
  Entry* FindByName(const std::string& name) const;

  net::EventLoop& loop_;
  Jobs& jobs_;
  const std::shared_ptr<store::State> state_;
  ModelsOptions options_;
  std::function<void()> changed_ = [] {};
  std::map<std::string, std::unique_ptr<Entry>> entries_;  // by path
  std::map<std::string, bool> paths_;     // files that were named; true: at every start
  std::map<std::string, Time> scanning_;  // folders and files being looked at, since when
  std::vector<std::function<void()>> after_scan_;
  // Files that somebody waits for and that are being looked at; null once answered.
  struct Looking {
    std::string path;
    Time since{};
    std::shared_ptr<Looked> done;
  };
  std::vector<Looking> looking_;
  // At the start a folder's files wait for those of the folders before it, for a moment: names must
  // not depend on which disk is faster.
  std::map<size_t, Listing> first_listings_;
  size_t next_first_ = 0;
  std::set<std::string> missing_;      // named folders that were warned of
  std::map<std::string, int> broken_;  // looks at files that are listed and are not there
  uint64_t claims_ = 0;
  net::Timer timer_, scan_limit_, order_limit_;
  // What was posted to the loop and comes after this object sees the flag and does nothing.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace exo::node
