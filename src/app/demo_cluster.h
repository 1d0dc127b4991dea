// A cluster of several nodes on this machine: own processes, identities, folders and ports, real
// discovery on the loopback interface and real TLS; a secret of its own keeps other nodes out.
// Used by `exo demo` and `exo bench --nodes`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/http_client.h"
#include "app/settings.h"
#include "base/result.h"
#include "sys/process.h"
#include "sys/temporary_folder.h"

namespace exo::app {

class DemoCluster {
 public:
  struct Options {
    unsigned nodes = 3;
    unsigned threads = 1;                     // compute threads of each node
    std::vector<std::string> node_arguments;  // added to each `exo up`
    int stop_fd = -1;                         // readable: give up (StopSignals)
  };
  // Starts the nodes and waits until each sees all others. Errors: kIo, kCancelled (stop_fd),
  // kDisconnected (they do not find each other: with what their logs say).
  static Result<std::unique_ptr<DemoCluster>> Start(const Settings& settings,
                                                    const Options& options);
  // Ends every process, within a second, and removes the folder.
  ~DemoCluster();
  DemoCluster(const DemoCluster&) = delete;
  DemoCluster& operator=(const DemoCluster&) = delete;

  const HttpClient& api() const { return *api_; }  // of the first node
  double seconds_to_find_each_other() const { return seconds_; }

 private:
  DemoCluster() = default;
  Result<void> StartNode(const Settings& settings, const Options& options, unsigned index,
                         const std::string& secret);
  Result<void> WaitForAll(const Options& options);
  // The last lines of the nodes' logs, to standard error.
  void ShowLogs() const;

  std::unique_ptr<sys::TemporaryFolder> folder_;
  std::vector<std::unique_ptr<sys::ChildProcess>> nodes_;
  std::unique_ptr<HttpClient> api_;
  double seconds_ = 0;
};

}  // namespace exo::app
