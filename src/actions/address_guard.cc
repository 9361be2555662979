#include "address_guard.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace wheeltapper::actions {
namespace {

struct Block4 {
  uint32_t network;  // host order
  int bits;
};
// IANA's special-purpose registry (RFC 6890 and later): nothing of this is a public web server.
constexpr std::array<Block4, 15> kBlocked4{{
    {0x00000000, 8},   // this network
    {0x0A000000, 8},   // 10/8
    {0x64400000, 10},  // 100.64/10 shared
    {0x7F000000, 8},   // loopback
    {0xA9FE0000, 16},  // link-local, cloud metadata
    {0xAC100000, 12},  // 172.16/12
    {0xC0000000, 24},  // IETF protocol assignments
    {0xC0000200, 24},  // documentation
    {0xC0586300, 24},  // 6to4 relay
    {0xC0A80000, 16},  // 192.168/16
    {0xC6120000, 15},  // benchmarking
    {0xC6336400, 24},  // documentation
    {0xCB007100, 24},  // documentation
    {0xE0000000, 4},   // multicast
    {0xF0000000, 4},   // reserved, broadcast
}};

bool IsPublic4(uint32_t address) {
  return std::none_of(kBlocked4.begin(), kBlocked4.end(), [address](const Block4& block) {
    return (address ^ block.network) >> (32 - block.bits) == 0;
  });
}

uint32_t Load4(const uint8_t* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

bool StartsWith(const std::array<uint8_t, 16>& address, std::initializer_list<uint8_t> prefix) {
  return std::equal(prefix.begin(), prefix.end(), address.begin());
}

bool IsPublic6(const std::array<uint8_t, 16>& a) {
  if (StartsWith(a, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF})) {  // ::ffff:0:0/96, IPv4-mapped
    return IsPublic4(Load4(&a[12]));
  }
  if (StartsWith(a, {0x00, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0})) {  // 64:ff9b::/96, NAT64
    return IsPublic4(Load4(&a[12]));
  }
  if (StartsWith(a, {0x20, 0x02})) {  // 6to4
    return IsPublic4(Load4(&a[2]));
  }
  // Global unicast is 2000::/3; inside it Teredo 2001::/32 and documentation 2001:db8::/32 are
  // special.
  return (a[0] & 0xE0) == 0x20 && !StartsWith(a, {0x20, 0x01, 0, 0}) &&
         !StartsWith(a, {0x20, 0x01, 0x0D, 0xB8});
}

}  // namespace

bool IsPublicAddress(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, address, sizeof(v4));
    return IsPublic4(ntohl(v4.sin_addr.s_addr));
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, address, sizeof(v6));
    std::array<uint8_t, 16> bytes{};
    std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
    return IsPublic6(bytes);
  }
  return false;
}

}  // namespace wheeltapper::actions
