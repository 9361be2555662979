# Third-party packages, all from Debian; docs/decisions/0002-dependencies.md says why each is here.
# All are looked for before configuring stops, so that one message names everything that is missing.
set(_wt_missing "")

# _wt_find(<package> <debian package> [version …]): an ordinary find_package that reports by Debian package.
macro(_wt_find name debian)
  find_package(${name} ${ARGN} QUIET)
  if(NOT ${name}_FOUND)
    list(APPEND _wt_missing ${debian})
  endif()
endmacro()

find_package(Threads REQUIRED)
_wt_find(PkgConfig pkg-config)
_wt_find(fmt libfmt-dev 9)
_wt_find(HWY libhwy-dev)
_wt_find(zstd libzstd-dev)
_wt_find(nlohmann_json nlohmann-json3-dev 3.11)
_wt_find(CURL libcurl4-openssl-dev)
_wt_find(OpenSSL libssl-dev)
_wt_find(CLI11 libcli11-dev)
if(WT_TESTS)
  _wt_find(GTest libgtest-dev\ libgmock-dev)
  _wt_find(benchmark libbenchmark-dev)
endif()
if(PkgConfig_FOUND)
  pkg_check_modules(ISAL QUIET IMPORTED_TARGET libisal)
  pkg_check_modules(PCRE2 QUIET IMPORTED_TARGET libpcre2-8)
endif()
if(NOT ISAL_FOUND)
  list(APPEND _wt_missing libisal-dev)
endif()
if(NOT PCRE2_FOUND)
  list(APPEND _wt_missing libpcre2-dev)
endif()
find_path(WT_TOMLPLUSPLUS_INCLUDE_DIR toml++/toml.h)
mark_as_advanced(WT_TOMLPLUSPLUS_INCLUDE_DIR)
if(NOT WT_TOMLPLUSPLUS_INCLUDE_DIR)
  list(APPEND _wt_missing libtomlplusplus-dev)
endif()

if(_wt_missing)
  list(JOIN _wt_missing " " _wt_missing)
  message(FATAL_ERROR
    "wheeltapper needs C++ libraries that are not installed.\n"
    "On Debian or Ubuntu: sudo apt-get install ${_wt_missing}\n"
    "From a checkout, ./dev installs them; a ready-made wheel needs none of them.")
endif()
