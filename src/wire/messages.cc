#include "wire/messages.h"

namespace exo::wire {

DeviceRecord TotalOf(const NodeRecord& record) {
  return record.devices.empty() ? DeviceRecord{} : record.devices[0];
}

}  // namespace exo::wire
