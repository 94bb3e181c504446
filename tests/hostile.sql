WITH x AS (INSERT INTO bigrams VALUES (1, 2, 3) RETURNING *) FROM x
WITH x AS (DELETE FROM bigrams RETURNING *) FROM x
WITH x AS (UPDATE bigrams SET id0 = 1 RETURNING *) FROM x
WITH x AS (COPY bigrams TO 'OUT') FROM x
WITH duckdb_views AS (SELECT * FROM duckdb_views) SELECT * FROM duckdb_views
SELECT (WITH pragma_database_list AS (SELECT 1 AS a) SELECT a FROM pragma_database_list), * FROM pragma_database_list
SELECT * FROM sqlite_master
SELECT * FROM information_schema.tables
SELECT * FROM pg_catalog.pg_settings
SELECT * FROM pg_settings
SELECT * FROM system.main.duckdb_settings
SELECT * FROM "SECRET"
SELECT * FROM 'file://SECRET'
SELECT * FROM '/etc/*.csv'
SELECT * FROM 'file.csv'
SELECT * FROM read_csv(['SECRET', '/etc/group'])
SELECT * FROM read_csv_auto('SECRET')
SELECT * FROM read_json('SECRET')
SELECT * FROM read_ndjson_objects('SECRET')
SELECT * FROM parquet_scan('SECRET')
SELECT * FROM READ_TEXT('SECRET')
SELECT * FROM "read_text"('SECRET')
SELECT * FROM main.read_text('SECRET')
SELECT * FROM system.main.read_text('SECRET')
SELECT * FROM read_text/**/('SECRET')
SELECT * FROM read_text('SECRET') AS tokens
SELECT * FROM sniff_csv('SECRET')
SELECT * FROM parquet_kv_metadata('SECRET')
SELECT * FROM parquet_file_metadata('SECRET')
SELECT * FROM parquet_bloom_probe('SECRET', 'a', 1)
SELECT * FROM read_duckdb('SECRET')
SELECT * FROM read_parquet('ngrams/*/*.parquet')
SELECT * FROM duckdb_temporary_files()
SELECT * FROM duckdb_external_file_cache()
SELECT * FROM duckdb_variables()
SELECT * FROM duckdb_memory()
SELECT * FROM duckdb_extensions()
SELECT * FROM duckdb_views()
SELECT * FROM duckdb_prepared_statements()
SELECT * FROM pragma_user_agent()
SELECT * FROM which_secret('s3://x', 's3')
SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 42'))
SELECT * FROM test_all_types()
SELECT * FROM histogram_values(bigrams, id0)
SELECT json_serialize_plan('SELECT * FROM bigrams')
SELECT write_log('x')
SELECT nextval('s')
SELECT setseed(0.5)
SELECT getvariable('x')
SELECT 'temp_directory'.current_setting()
SELECT Current_Setting('home_directory')
SELECT list_transform(['temp_directory'], lambda x: current_setting(x))
SELECT (SELECT current_setting('home_directory'))
SELECT count(*) FROM bigrams WHERE current_setting('threads') = '2'
SELECT id0 FROM bigrams ORDER BY current_setting('threads') LIMIT 1
SELECT id0 FROM bigrams GROUP BY ALL HAVING any_value(current_setting('threads')) = '2'
SELECT sum(id0) OVER (PARTITION BY current_setting('threads')) FROM bigrams LIMIT 1
SELECT COLUMNS(x -> current_setting('threads') = x) FROM bigrams LIMIT 1
FROM unnest((SELECT list(current_setting('threads'))))
SELECT * FROM range((SELECT count(*) FROM read_text('SECRET')))
SELECT * FROM bigrams JOIN read_text('SECRET') ON true
SELECT * FROM bigrams, LATERAL (SELECT * FROM glob('/etc/' || id0)) LIMIT 1
SELECT 1 UNION ALL SELECT size FROM read_text('SECRET')
SELECT pg_get_viewdef(0)
SELECT pg_sleep(100)
SELECT sleep_ms(100000)
SELECT http_get('http://127.0.0.1:9/')
SHOW temp_directory
SHOW threads
SHOW DATABASES
SHOW ALL TABLES
SHOW VARIABLES
SHOW TABLES FROM information_schema
SELECT * FROM (SHOW temp_directory)
DESCRIBE SELECT * FROM read_text('SECRET')
SUMMARIZE 'SECRET'
DESCRIBE 'SECRET'
EXPLAIN ANALYZE SELECT count(*) FROM bigrams
EXPLAIN ANALYSE SELECT 1
EXPLAIN (ANALYZE) SELECT 1
EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO 'OUT'
EXPLAIN/**/ANALYZE COPY (SELECT 1) TO 'OUT'
EXPLAIN ANALYZE COPY (SELECT 1) TO 'OUT'
EXPLAIN ANALYZE /* x */ EXPORT DATABASE 'OUT'
EXPLAIN ANALYZE CREATE TABLE zz AS SELECT 1
EXPLAIN COPY (SELECT 1) TO 'OUT'
EXPLAIN EXPLAIN SELECT 1
EXPLAIN SELECT * FROM read_text('SECRET')
-- nothing
/* x */ COPY (SELECT 1) TO 'OUT' --
SELECT 1;;COPY (SELECT 1) TO 'OUT'
SELECT 1 /* ; */; DROP VIEW bigrams
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE p
SELECT ?
PIVOT bigrams ON id0 USING sum(count)
USE memory
BEGIN
ROLLBACK
VACUUM
ANALYZE
COMMENT ON VIEW bigrams IS 'x'
ALTER VIEW bigrams RENAME TO b
CREATE OR REPLACE TEMP MACRO sum(x) AS 42
CREATE TYPE t AS ENUM ('a')
CREATE SEQUENCE s
CREATE SCHEMA s
CREATE PERSISTENT SECRET (TYPE s3)
IMPORT DATABASE '/tmp'
DETACH memory
COPY FROM DATABASE memory TO other
PRAGMA enable_profiling
PRAGMA profiling_output='OUT'
SET log_query_path='OUT'
CALL pragma_database_size()
SELECT * FROM unknown_function('x')
SELECT st_read('x')
SELECT * FROM iceberg_scan('x')
SELECT 'a' COLLATE nowhere
SELECT * FROM ｒｅａｄ_ｔｅｘｔ('SECRET')
SELECT * FROM read_text('SECRET')
ＳＥＬＥＣＴ 1; COPY (SELECT 1) TO 'OUT'
SELECT curr­ent_setting('threads')
SELECT * FROM df
