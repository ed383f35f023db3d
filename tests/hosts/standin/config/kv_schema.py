"""riak.conf: the keys of Riak KV 3.2.3 that a deployment meets."""

from tests.hosts.standin.config.schema import Setting, table

_GENERAL = """
*nodename | string | riak@127.0.0.1
*distributed_cookie | string | riak
*listener.http.internal | ip | 127.0.0.1:8098
*listener.protobuf.internal | ip | 127.0.0.1:8087
listener.http.$name | ip |
listener.https.$name | ip |
listener.protobuf.$name | ip |
protobuf.backlog | integer | 128
protobuf.nagle | flag | off
handoff.ip | string | 0.0.0.0
handoff.port | integer | 8099
handoff.outbound | flag | on
handoff.inbound | flag | on
handoff.use_background_manager | flag | off
ring_size | integer | 64
target_n_val | integer | 4
target_location_n_val | integer | 3
full_rebalance_onleave | enum true false | true
choose_claim_fun | enum choose_claim_v2 choose_claim_v4 | choose_claim_v2
transfer_limit | integer | 2
cs_version | integer |
mdc.cluster_manager | ip | 127.0.0.1:9080
mdc.data_root | directory | $(platform_data_dir)/riak_repl
ring.state_dir | directory | $(platform_data_dir)/ring
ssl.certfile | file |
ssl.keyfile | file |
ssl.cacertfile | file |
erlang.distribution.port_range.minimum | integer |
erlang.distribution.port_range.maximum | integer |
erlang.distribution.interface | string |
*erlang.distribution_buffer_size | string | 32MB
*erlang.async_threads | integer | 64
*erlang.max_ports | integer | 262144
erlang.process_limit | integer | 262144
erlang.max_ets_tables | integer | 256000
erlang.fullsweep_after | integer | 0
erlang.crash_dump | file | $(platform_log_dir)/erl_crash.dump
erlang.schedulers.total | integer |
erlang.schedulers.online | integer |
erlang.schedulers.force_wakeup_interval | integer |
erlang.schedulers.compaction_of_load | flag true false |
erlang.schedulers.utilization_balancing | flag true false |
erlang.schedulers.busywaitthreshold | enum none very_short short medium long very_long |
erlang.smp | enum enable auto disable |
erlang.K | flag | on
*platform_bin_dir | directory | /usr/lib/riak/bin
*platform_data_dir | directory | /var/lib/riak
*platform_etc_dir | directory | /etc/riak
*platform_lib_dir | directory | /usr/lib/riak/lib
*platform_log_dir | directory | /var/log/riak
*logger.level | enum debug info notice warning error critical alert emergency none | info
*logger.file | file | $(platform_log_dir)/console.log
logger.max_files | integer | 10
logger.max_file_size | bytesize | 1MB
logger.error_file | file | $(platform_log_dir)/error.log
logger.crash_file | file | $(platform_log_dir)/crash.log
logger.report_file | file | $(platform_log_dir)/report.log
logger.default_handler_enabled | flag | on
logger.sasl.enabled | flag | off
log.crash | flag | on
log.crash.file | file | $(platform_log_dir)/crash.log
*anti_entropy | enum active passive active-debug | active
anti_entropy.data_dir | directory | $(platform_data_dir)/anti_entropy
anti_entropy.throttle | flag | on
anti_entropy.tree.build_limit.number | integer | 1
anti_entropy.tree.build_limit.per_timespan | duration | 1h
anti_entropy.tree.expiry | duration/atom never | 1w
anti_entropy.concurrency_limit | integer | 2
anti_entropy.trigger_interval | duration | 15s
*tictacaae_active | enum active passive | passive
tictacaae_dataroot | directory | $(platform_data_dir)/tictac_aae
tictacaae_parallelstore | enum leveled_ko leveled_so | leveled_ko
tictacaae_rebuildwait | integer | 336
tictacaae_exchangetick | integer | 240000
tictacaae_storeheads | enum enabled disabled | disabled
max_concurrent_requests | integer/atom infinite | 50000
dtrace | flag | off
distributed_monitors | flag | on
riak_control | flag | off
metadata_cache_size | bytesize/atom off | off
vnode_management_timer | duration | 10s
retry_put_coordinator_failure | flag | on
secure_referer_check | flag | on
check_crl | flag | on
honor_cipher_order | flag | on
tls_protocols.$name | flag | off
javascript.$name.pool_size | integer |
search | flag | off
"""

_STORAGE = """
*storage_backend | enum bitcask leveldb leveled memory multi prefix_multi | bitcask
buckets.default.allow_mult | enum true false | false
buckets.default.merge_strategy | enum 1 2 | 1
buckets.default.n_val | integer | 3
buckets.default.r | integer/enum quorum all | quorum
buckets.default.w | integer/enum quorum all | quorum
buckets.default.dw | integer/enum quorum all | quorum
buckets.default.rw | integer/enum quorum all | quorum
buckets.default.pr | integer/enum quorum all | 0
buckets.default.pw | integer/enum quorum all | 0
buckets.default.last_write_wins | enum true false | false
buckets.default.notfound_ok | enum true false | true
buckets.default.basic_quorum | enum true false | false
buckets.default.node_confirms | integer | 0
buckets.default.sync_on_write | enum all one backend | backend
buckets.default.precommit | string |
buckets.default.postcommit | string |
*object.format | enum 0 1 | 1
object.size.warning_threshold | bytesize | 5MB
object.size.maximum | bytesize | 50MB
object.siblings.warning_threshold | integer | 25
object.siblings.maximum | integer | 100
cluster.job.riak_kv.$name | enum enabled disabled | enabled
multi_backend.default | string |
multi_backend.$name.storage_backend | enum bitcask leveldb leveled memory | bitcask
"""

# Each exists at the top level and inside a named backend.
_BACKENDS = """
bitcask.data_root | directory | $(platform_data_dir)/bitcask
bitcask.io_mode | enum erlang nif | erlang
bitcask.merge.policy | enum always never window | always
bitcask.merge.window.start | integer | 0
bitcask.merge.window.end | integer | 23
bitcask.merge_check_interval | duration | 3m
bitcask.merge_check_jitter | percent | 30%
bitcask.merge.triggers.fragmentation | integer | 60
bitcask.merge.triggers.dead_bytes | bytesize | 512MB
bitcask.merge.thresholds.fragmentation | integer | 40
bitcask.merge.thresholds.dead_bytes | bytesize | 128MB
bitcask.merge.thresholds.small_file | bytesize | 10MB
bitcask.max_merge_size | bytesize | 100GB
bitcask.max_file_size | bytesize | 2GB
bitcask.open_timeout | duration | 4s
bitcask.sync.strategy | enum none o_sync interval | none
bitcask.sync.interval | duration |
bitcask.expiry | duration/atom off | off
bitcask.expiry.grace_time | duration | 0
bitcask.fold.max_age | duration/atom unlimited | unlimited
bitcask.fold.max_puts | integer/atom unlimited | 0
bitcask.hintfile_checksums | enum strict allow_missing | strict
leveldb.data_root | directory | $(platform_data_dir)/leveldb
leveldb.maximum_memory.percent | integer | 70
leveldb.maximum_memory | bytesize |
leveldb.compression | flag | on
leveldb.compression.algorithm | enum snappy lz4 |
leveldb.compaction.trigger.tombstone_count | integer/atom off | 1000
leveldb.sync_on_write | flag | off
leveldb.limited_developer_mem | flag | off
leveldb.write_buffer_size_min | bytesize | 30MB
leveldb.write_buffer_size_max | bytesize | 60MB
leveldb.threads | integer | 71
leveldb.fadvise_willneed | enum true false | false
leveldb.block.size | bytesize | 4KB
leveldb.bloomfilter | flag | on
leveldb.block_cache_threshold | bytesize | 32MB
leveldb.verify_checksums | flag | on
leveldb.verify_compaction | flag | on
leveldb.tiered | integer/atom off | off
leveldb.tiered.path.fast | directory |
leveldb.tiered.path.slow | directory |
leveldb.expiration | flag | off
leveldb.expiration.retention_time | duration |
leveldb.expiration.mode | enum whole_file normal | whole_file
leveled.data_root | directory | $(platform_data_dir)/leveled
leveled.sync_strategy | enum sync riak_sync none | none
leveled.compression_method | enum lz4 zstd native none | native
leveled.ledger_compression | enum lz4 zstd native none as_store | as_store
leveled.compression_point | enum on_compact on_receipt | on_receipt
leveled.log_level | enum debug info warn error critical | info
leveled.journal_size | bytesize | 1GB
leveled.journal_objectcount | integer | 200000
leveled.ledger_cachesize | integer | 2500
leveled.ledger_pagecachelevel | integer | 4
leveled.compaction_low_hour | integer | 0
leveled.compaction_top_hour | integer | 23
leveled.compaction_runs_perday | integer | 24
leveled.compaction_scores_perday | integer | 1
leveled.max_run_length | integer | 4
memory_backend.max_memory_per_vnode | bytesize |
memory_backend.ttl | duration |
ledger_compression | enum lz4 zstd native none as_store |
"""


def _inside() -> tuple[Setting, ...]:
    return tuple(Setting(f"multi_backend.$name.{s.key}", s.datatype, None) for s in table(_BACKENDS))


SETTINGS = table(_GENERAL) + table(_STORAGE) + table(_BACKENDS)[:-1] + _inside()

STOCK_DEFECT = """\
multi_backend.name.ledger_compression = as_store
multi_backend.name.leveled.journal_size = 1GB
multi_backend.name.leveled.journal_objectcount = 200000
multi_backend.name.leveled.ledger_pagecachelevel = 4
multi_backend.name.leveled.compaction_scores_perday = 1
"""
