// A folder of safetensors as a file that is read: the GGUF file of the same model
// (checkpoint/checkpoint.h), made of what the folder's files hold at the moment of each read.
#pragma once

#include <memory>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "checkpoint/checkpoint.h"
#include "store/manifest.h"
#include "sys/files.h"

namespace exo::store {

// Thread: any.
class CheckpointFolder {
 public:
  // `disk` outlives the object and the files that it opens.
  CheckpointFolder(const sys::Disk& disk, std::string path) : disk_(disk), path_(std::move(path)) {}

  // The folder as it is now. Its documents are read and checked at the first time and when a file
  // has changed since. Errors: those of Checkpoint::Make and of the disk, with the file's name;
  // kNotFound for a weight file that the index names and the folder lacks.
  Result<OpenedFile> Open();

 private:
  struct Opened;
  Result<std::shared_ptr<const checkpoint::Checkpoint>> Understand(const Opened& opened);

  const sys::Disk& disk_;
  const std::string path_;
  Mutex mutex_;
  // What was understood last, and the state of the files that it was.
  std::shared_ptr<const checkpoint::Checkpoint> checkpoint_ EXO_GUARDED_BY(mutex_);
  sys::FileStamp understood_ EXO_GUARDED_BY(mutex_);
};

// Whether `path` is a folder with a config.json and weights in safetensors.
bool IsCheckpoint(const sys::Disk& disk, const std::string& path);
// Whether a file can be written to `target` while the checkpoint `folder` is read and stays as it
// is: not to a file that it consists of, also by way of a link, and over nothing beside them but
// GGUF files. Any target will do where `folder` is no checkpoint. Errors: kInvalid.
Result<void> CheckLeavesCheckpoint(const sys::Disk& disk, const std::string& folder,
                                   const std::string& target);
// Of a model's file, or of all files of a checkpoint together (`bytes`: their sum). Errors: those
// of Disk::Look; of a folder that is no checkpoint, what it lacks.
Result<sys::FileStamp> LookAtModel(const sys::Disk& disk, const std::string& path);
// A model's file, or a checkpoint as one. `disk` outlives it. Errors: those of Disk::Open and of
// CheckpointFolder::Open.
Result<OpenedFile> OpenModelPart(const sys::Disk& disk, const std::string& path);

}  // namespace exo::store
