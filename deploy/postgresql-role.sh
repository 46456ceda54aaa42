#!/bin/sh
# Runs once, on an empty database: a role for the server that row-level security holds for. A superuser passes it by.
set -eu
psql --set=ON_ERROR_STOP=1 --set=password="$METATUNE_PASSWORD" --username=postgres --dbname=postgres <<'SQL'
CREATE ROLE metatune LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'password';
CREATE DATABASE metatune OWNER metatune;
SQL
