// What people and the command line ask of a node: the start page, its health, metrics, the cluster,
// and the internal routes, which may change. Its errors have a shape of their own (admin/errors.h).
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"
#include "service/http/stats.h"

namespace exo::service::admin {

// `api` and `stats` must outlive the server that serves it.
Dialect MakeDialect(node::Api& api, const HttpStats& stats);

}  // namespace exo::service::admin
