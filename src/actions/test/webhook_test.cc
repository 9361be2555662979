// Webhooks against a real HTTP server on loopback.
#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/mutex.h"
#include "wheeltapper/core/thread.h"

#include "delivery.h"
#include "support/scratch_folder.h"

namespace wheeltapper::actions {
namespace {

constexpr TimeNs kSecond = 1'000'000'000;

// Answers each connection with the next status of a list (the last one for ever) and keeps what it
// was sent.
class HttpServer {
 public:
  explicit HttpServer(std::vector<int> statuses) : statuses_(std::move(statuses)) {
    listener_ = FileDescriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
              0);
    EXPECT_EQ(listen(listener_.get(), 8), 0);
    socklen_t length = sizeof(address);
    EXPECT_EQ(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    port_ = ntohs(address.sin_port);
    EXPECT_TRUE(thread_.Start("wt-test-http", [this] { Serve(); }).ok());
  }
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.Join();
  }

  [[nodiscard]] std::string url() const {
    return "http://127.0.0.1:" + std::to_string(port_) + "/hook";
  }
  std::vector<std::string> requests() {
    MutexLock lock(mutex_);
    return requests_;
  }

 private:
  void Serve() {
    for (;;) {
      const FileDescriptor peer(accept(listener_.get(), nullptr, nullptr));
      if (!peer.valid()) {
        return;
      }
      const std::string request = ReadRequest(peer);
      int status = 0;
      {
        MutexLock lock(mutex_);
        status = statuses_[std::min(requests_.size(), statuses_.size() - 1)];
        requests_.push_back(request);
      }
      const std::string answer = "HTTP/1.1 " + std::to_string(status) +
                                 " X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
      WriteAll(peer, AsBytes(answer)).IgnoreError("the client judges what it got");
    }
  }
  static std::string ReadRequest(const FileDescriptor& peer) {
    std::string text;
    std::array<char, 4096> piece{};
    for (;;) {
      const size_t head = text.find("\r\n\r\n");
      if (head != std::string::npos && text.size() >= head + 4 + ContentLength(text)) {
        return text;
      }
      const ssize_t got = read(peer.get(), piece.data(), piece.size());
      if (got <= 0) {
        return text;
      }
      text.append(piece.data(), static_cast<size_t>(got));
    }
  }
  static size_t ContentLength(const std::string& text) {
    const size_t at = text.find("Content-Length: ");
    return at == std::string::npos ? 0 : std::stoul(text.substr(at + 16));
  }

  FileDescriptor listener_;
  int port_ = 0;
  Thread thread_;
  Mutex mutex_;
  std::vector<int> statuses_ WT_GUARDED_BY(mutex_);
  std::vector<std::string> requests_ WT_GUARDED_BY(mutex_);
};

std::string HeaderOf(const std::string& request, const std::string& name) {
  const size_t at = request.find(name + ": ");
  if (at == std::string::npos) {
    return "";
  }
  const size_t begin = at + name.size() + 2;
  return request.substr(begin, request.find("\r\n", begin) - begin);
}

std::string BodyOf(const std::string& request) {
  return request.substr(request.find("\r\n\r\n") + 4);
}

Status DeliverTo(const WebhookOptions& options) {
  Result<std::unique_ptr<Delivery>> webhook = MakeWebhookDelivery(options, SystemClock());
  if (!webhook.ok()) {
    return webhook.status();
  }
  return (*webhook)
      ->Deliver({.action = "webhook",
                 .event = "opened",
                 .finding_id = "x-1",
                 .body = "{\"event\":\"opened\"}"})
      .status;
}

TEST(WebhookTest, PostsTheBodySignedWithItsTimestamp) {
  HttpServer server({204});
  ASSERT_TRUE(DeliverTo({.url = server.url(), .secret = "s3cret", .allow_private = true}).ok());
  const std::vector<std::string> requests = server.requests();
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_EQ(requests[0].rfind("POST /hook HTTP/1.1\r\n", 0), 0U);
  EXPECT_EQ(BodyOf(requests[0]), "{\"event\":\"opened\"}");
  EXPECT_EQ(HeaderOf(requests[0], "Content-Type"), "application/json");
  const std::string timestamp = HeaderOf(requests[0], "X-Wheeltapper-Timestamp");
  EXPECT_EQ(HeaderOf(requests[0], "X-Wheeltapper-Signature"),
            "sha256=" + HmacSha256Hex("s3cret", timestamp + ".{\"event\":\"opened\"}"));
}

TEST(WebhookTest, TheGuardKeepsItAwayFromLoopback) {
  HttpServer server({204});
  const Status refused = DeliverTo({.url = server.url()});
  EXPECT_EQ(refused.code(), StatusCode::kUnavailable);
  EXPECT_THAT(refused.message(), testing::HasSubstr("refused: its address is one of this machine"));
  EXPECT_TRUE(server.requests().empty());
}

TEST(WebhookTest, WhereNobodyListensNothingIsSaidOfPrivateNetworks) {
  const Status failed = DeliverTo({.url = "http://127.0.0.1:1/", .allow_private = true});
  EXPECT_EQ(failed.code(), StatusCode::kUnavailable);
  EXPECT_THAT(failed.message(), testing::Not(testing::HasSubstr("private")));
}

TEST(WebhookTest, ServerErrorsMayBeRetriedClientErrorsMayNot) {
  for (const auto& [status, code] :
       {std::pair{503, StatusCode::kUnavailable}, std::pair{429, StatusCode::kUnavailable},
        std::pair{404, StatusCode::kFailedPrecondition},
        std::pair{302, StatusCode::kFailedPrecondition}}) {
    HttpServer server({status});
    EXPECT_EQ(DeliverTo({.url = server.url(), .allow_private = true}).code(), code) << status;
  }
}

TEST(WebhookTest, BadUrlsAreRefusedBeforeAnythingRuns) {
  for (const char* url : {"ftp://example.org/", "file:///etc/passwd",
                          "https://user:pass@example.org/", "not a url"}) {
    EXPECT_EQ(DeliverTo({.url = url}).code(), StatusCode::kInvalidArgument) << url;
  }
}

Result<std::unique_ptr<ActionRouter>> MakeRouter(const std::string& url, const std::string& run) {
  ConfigSources sources;
  sources.flags = {{"actions.webhook.url", url, "--set"},
                   {"actions.webhook.allow_private", "true", "--set"}};
  const Result<Config> config = Config::Load(sources);
  EXPECT_TRUE(config.ok()) << config.status().ToString();
  return ActionRouter::Create(*config, run, nullptr, SystemClock());
}

rules::Finding MakeFinding() {
  rules::Finding finding;
  finding.id = "nonfinite-1";
  finding.rule = "nonfinite";
  finding.severity = rules::Severity::kCritical;
  finding.message = "NaN in \"loss\"";
  return finding;
}

TEST(WebhookTest, ARouterTriesAgainUntilTheServerRecovers) {
  HttpServer server({500, 200});
  const ScratchFolder folder;
  const std::string& run = folder.path();
  auto router = MakeRouter(server.url(), run);
  ASSERT_TRUE(router.ok());
  (*router)->Opened(MakeFinding());
  ASSERT_TRUE((*router)->Drain(20 * kSecond).ok());
  EXPECT_EQ(server.requests().size(), 2U);
  const auto records = ReadActions(run);
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 2U);
  EXPECT_EQ((*records)[0].outcome, "retrying");
  EXPECT_EQ((*records)[1].outcome, "done");
}

TEST(WebhookTest, WhatCouldNotBeDeliveredIsDeliveredByTheNextRouter) {
  const ScratchFolder folder;
  const std::string& run = folder.path();
  {
    auto router = MakeRouter("http://127.0.0.1:1/nobody-listens", run);
    ASSERT_TRUE(router.ok());
    (*router)->Opened(MakeFinding());
    EXPECT_EQ((*router)->Drain(kSecond / 10).code(), StatusCode::kDeadlineExceeded);
  }
  HttpServer server({200});
  auto router = MakeRouter(server.url(), run);
  ASSERT_TRUE(router.ok());
  ASSERT_TRUE((*router)->Drain(20 * kSecond).ok());
  ASSERT_EQ(server.requests().size(), 1U);
  EXPECT_NE(BodyOf(server.requests()[0]).find("nonfinite"), std::string::npos);
}

}  // namespace
}  // namespace wheeltapper::actions
