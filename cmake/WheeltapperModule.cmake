# wheeltapper_module(<name> LAYER <n> HEADERS … SOURCES … [DEPS …] [PRIVATE_DEPS …] [LIBS …] [PRIVATE_LIBS …]
#                    [TESTS …] [BENCHES …] [FUZZERS …] [APART …])
#
# One folder = one module = one target wheeltapper_<name> = one namespace. DEPS and PRIVATE_DEPS name modules, LIBS and
# PRIVATE_LIBS third-party targets. Configuring stops when a module depends on its own layer or a higher one; an include
# of an undeclared module does not compile, because each module brings only its own include directory.
# HEADERS are compiled alone (target all_verify_interface_header_sets).
# Several sources are compiled as one (CMAKE_UNITY_BUILD, half the time); APART names those whose file-local names others
# of the module use as well.
function(wheeltapper_module name)
  cmake_parse_arguments(M "" "LAYER" "HEADERS;SOURCES;DEPS;PRIVATE_DEPS;LIBS;PRIVATE_LIBS;TESTS;BENCHES;FUZZERS;APART" ${ARGN})
  if(M_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "module '${name}': unknown arguments: ${M_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT DEFINED M_LAYER)
    message(FATAL_ERROR "module '${name}' declares no LAYER")
  endif()
  foreach(source IN LISTS M_APART)
    if(NOT source IN_LIST M_SOURCES AND NOT source IN_LIST M_TESTS)
      message(FATAL_ERROR "module '${name}': APART names '${source}', which is none of its sources")
    endif()
  endforeach()
  set_source_files_properties(${M_APART} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  set(target wheeltapper_${name})
  add_library(${target} STATIC ${M_SOURCES})
  set_target_properties(${target} PROPERTIES WT_LAYER ${M_LAYER} VERIFY_INTERFACE_HEADER_SETS ON)
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${M_HEADERS})
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  foreach(dep IN LISTS M_DEPS M_PRIVATE_DEPS)
    if(NOT TARGET wheeltapper_${dep})
      message(FATAL_ERROR "layering: '${name}' depends on '${dep}', which is no module or is declared after it")
    endif()
    get_target_property(dep_layer wheeltapper_${dep} WT_LAYER)
    if(NOT dep_layer LESS M_LAYER)
      message(FATAL_ERROR "layering: '${name}' (layer ${M_LAYER}) may not depend on '${dep}' (layer ${dep_layer})")
    endif()
  endforeach()
  list(TRANSFORM M_DEPS PREPEND wheeltapper_)
  list(TRANSFORM M_PRIVATE_DEPS PREPEND wheeltapper_)
  target_link_libraries(${target} PUBLIC ${M_DEPS} ${M_LIBS} PRIVATE ${M_PRIVATE_DEPS} ${M_PRIVATE_LIBS})
  wheeltapper_warnings(${target})
  if(TARGET wheeltapper_libraries)
    add_dependencies(wheeltapper_libraries ${target})
  endif()

  if(WT_TESTS AND M_TESTS)
    _wheeltapper_test(${name} "${M_TESTS}" "${M_PRIVATE_DEPS};${M_PRIVATE_LIBS}")
  endif()
  if(WT_TESTS AND M_BENCHES)
    _wheeltapper_bench(${name} "${M_BENCHES}" "${M_PRIVATE_DEPS};${M_PRIVATE_LIBS}")
  endif()
  if(WT_TESTS AND M_FUZZERS)
    _wheeltapper_fuzzers(${name} "${M_FUZZERS}" "${M_PRIVATE_DEPS};${M_PRIVATE_LIBS}")
  endif()
endfunction()

function(_wheeltapper_executable exe name libs)
  # tests/support holds what the tests, benchmarks and fuzzers of every module share.
  target_include_directories(${exe} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${exe} PRIVATE wheeltapper_${name} ${libs})
  wheeltapper_warnings(${exe})
endfunction()

function(_wheeltapper_test name sources libs)
  set(exe wheeltapper_${name}_test)
  add_executable(${exe} ${sources})
  add_dependencies(wheeltapper_tests ${exe})
  _wheeltapper_executable(${exe} ${name} "${libs};GTest::gtest_main;GTest::gmock")
  # Tests are compiled more often than they run long.
  target_compile_options(${exe} PRIVATE $<$<CONFIG:Release>:-Og>)
  # Golden files and generated pages are compared with those in the tree.
  target_compile_definitions(${exe} PRIVATE WT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  include(GoogleTest)
  # A case is named by its number: the bytes of its value, pointers among them, differ at each start.
  gtest_discover_tests(${exe} TEST_PREFIX ${name}. NO_PRETTY_VALUES PROPERTIES LABELS unit TIMEOUT 120
                       ENVIRONMENT "WHEELTAPPER_STRICT=1" DISCOVERY_TIMEOUT 60)
endfunction()

function(_wheeltapper_bench name sources libs)
  set(exe wheeltapper_${name}_bench)
  add_executable(${exe} ${sources})
  _wheeltapper_executable(${exe} ${name} "${libs};benchmark::benchmark_main")
  # A smoke run: that it runs, not how fast.
  add_test(NAME ${name}.bench_smoke COMMAND ${exe} --benchmark_min_time=0.001)
  set_tests_properties(${name}.bench_smoke PROPERTIES LABELS bench TIMEOUT 300)
endfunction()

# Each fuzzer is one file with LLVMFuzzerTestOneInput. Without libFuzzer it is linked to a driver that mutates its
# seed corpus (fuzz/corpus/<fuzzer>/) deterministically, so that the ordinary test run exercises it as well.
function(_wheeltapper_fuzzers name sources libs)
  foreach(source IN LISTS sources)
    get_filename_component(stem ${source} NAME_WE)
    set(exe wheeltapper_${name}_${stem})
    set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${stem})
    if(WT_FUZZ)
      add_executable(${exe} ${source})
      target_link_options(${exe} PRIVATE -fsanitize=fuzzer)
      # What it finds goes into the first folder: the seeds stay as they are.
      set(found ${CMAKE_CURRENT_BINARY_DIR}/corpus/${stem})
      file(MAKE_DIRECTORY ${found})
      set(command ${exe} -runs=20000 -max_total_time=20 ${found} ${corpus})
    else()
      add_executable(${exe} ${source} ${PROJECT_SOURCE_DIR}/tests/fuzz/standalone_driver.cc)
      set(command ${exe} 2000 ${corpus})
    endif()
    _wheeltapper_executable(${exe} ${name} "${libs}")
    add_dependencies(wheeltapper_tests ${exe})
    add_test(NAME ${name}.${stem} COMMAND ${command})
    set_tests_properties(${name}.${stem} PROPERTIES LABELS fuzz TIMEOUT 120)
  endforeach()
endfunction()
