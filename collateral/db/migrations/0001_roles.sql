-- Extension, roles and the guard of append-only tables.
CREATE EXTENSION IF NOT EXISTS timescaledb;

-- Group roles, shared by all databases of the server; logins are made members of them.
DO $$
DECLARE role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['cw_owner', 'cw_ingest', 'cw_app', 'cw_officer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of the same server was migrated at the same moment
            END;
        END IF;
        -- From PostgreSQL 16 on the creator of a role is its member without the right to SET ROLE to it.
        IF NOT pg_has_role(current_user, role_name,
                           CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
            EXECUTE format('GRANT %I TO %I', role_name, current_user);
        END IF;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA public TO cw_owner, cw_ingest, cw_app, cw_officer;
GRANT CREATE ON SCHEMA public TO cw_owner;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is append-only: write a new revision instead of % on an old row', TG_TABLE_NAME, TG_OP;
END $$;
