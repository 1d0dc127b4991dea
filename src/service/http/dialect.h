// The seam between the server and the APIs that it speaks. A dialect is a list of routes and a
// shape for errors; a new one is a folder beside openai/ and a line in service.cc.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "service/http/exchange.h"

namespace exo::service {

// What a route does once its request is read. Runs on the event loop and answers through the
// exchange, at once (and returns null) or by the handler that it returns.
using Action = std::move_only_function<std::unique_ptr<Handler>(Exchange&)>;

// The method of a route that takes every one, with a body of any kind, which it does not read.
inline constexpr const char* kAnyMethod = "*";

struct Route {
  std::string method;  // GET (which serves HEAD too), POST, PUT, PATCH, DELETE or kAnyMethod
  std::string path;    // one that ends with '/' takes every longer path; {id}: a segment
  Scope scope = Scope::kAdmin;  // what a caller must be allowed
  // Turns a request into what is to be done. `request.path` is normalized (NormalPath).
  // Thread: any; large bodies are read on a worker, so this must not touch the node.
  std::function<Parsed<Action>(HttpRequest request)> read;
  bool listed = true;  // named in the answer to an unknown path
};

struct Dialect {
  std::string name;
  std::vector<Route> routes;
  // An error as this dialect's clients expect it. Thread: the event loop.
  std::function<HttpResponse(const ApiError&)> render;
  // What is not served below this path ("/api/") is this dialect's all the same; empty: nothing is.
  std::string root = {};
};

}  // namespace exo::service
