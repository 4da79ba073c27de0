-- Open storage without marked places: a slot of kind `yard` is a ground on which goods may stand anywhere.
ALTER TABLE slot_version DROP CONSTRAINT slot_version_kind_check;
ALTER TABLE slot_version ADD CONSTRAINT slot_version_kind_check
    CHECK (kind IN ('yard_bay', 'parking_bay', 'rack', 'yard'));
