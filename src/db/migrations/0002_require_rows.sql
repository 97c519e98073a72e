-- The end of an optimistic lock: fails the transaction when fewer rows were changed than were read, so that the COMMIT
-- that is already on its way behind it does nothing. SQLSTATE SC001 is this service's own: a lost race.
CREATE FUNCTION require_rows(actual bigint, expected bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF actual <> expected THEN
    RAISE EXCEPTION 'lost race: % of % rows changed', actual, expected USING ERRCODE = 'SC001';
  END IF;
END
$$;
